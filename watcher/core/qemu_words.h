#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "watcher/core/vm_event.h"

// QEMU's texts for people: its standard error, and the logs that it goes to. Pure.

namespace vmeventd {

inline constexpr size_t kMaxWordLines = 10;
inline constexpr size_t kMaxWordBytes = 2048;

// The last lines of `text`, escaped, within the two bounds. Lines that libvirt adds are dropped.
LastWords WordsIn(absl::string_view text, WordsSource source);

// The part of a libvirt log that the process wrote that was started at `start`, without its command
// line; "": there is none.
std::string LibvirtLife(absl::string_view log, absl::Time start);

// The sender that QEMU names: "terminating on signal 15 from pid 812 (/usr/sbin/virtqemud)". Unset:
// it names none.
std::optional<SignalSender> SenderInWords(const std::vector<std::string>& lines);

// The unit in a text of /proc/PID/cgroup, or else the cgroup; "": none, or one with other than
// printable ASCII.
std::string UnitOf(absl::string_view cgroups);

// The place of a core dumped by process `pid`, according to /proc/sys/kernel/core_pattern.
std::string CoreOf(absl::string_view core_pattern, int64_t pid);

}  // namespace vmeventd
