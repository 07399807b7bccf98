#pragma once

#include <cstddef>
#include <optional>

#include "absl/strings/string_view.h"
#include "vmeventd/contract/enums.h"
#include "watcher/core/signal_sender.h"

// A QEMU's last words: the end of its standard error, and of the logs that store it. Pure.

namespace vmeventd {

inline constexpr int kMaxWordLines = 10;
inline constexpr size_t kMaxWordBytes = 2048;

// The last lines of `text`, escaped, within the two bounds. Lines that libvirt adds are dropped,
// and those that QEMU writes at each start.
v1::LastWords WordsIn(absl::string_view text, LastWordsSource source);

// Returns the sender that QEMU's last words name, as in "terminating on signal 15 from pid 812
// (/usr/sbin/virtqemud)". Unset: they name none.
//
// This is the one sentence of QEMU that vmeventd parses for a verdict (docs/internals/qemu.md,
// "Last words"). Other words of a later QEMU name nobody: an end that only they explain is then
// UNKNOWN.
std::optional<SignalSender> SenderInLastWords(const v1::LastWords& words);

}  // namespace vmeventd
