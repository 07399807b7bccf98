#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

// One --watch DIR[:PATTERN]: the sockets of a directory whose file names match a pattern.
struct WatchSpec {
  std::string directory;  // absolute, without "." or ".." or a trailing slash
  std::string prefix;     // the pattern's text before its one '*'
  std::string suffix;     // the text after it
  std::string pattern() const { return prefix + "*" + suffix; }

  // The VM's name: the file name without the pattern's prefix and suffix. Unset where the name
  // does not match or nothing would be left of it. Raw bytes: the caller escapes.
  std::optional<std::string> VmName(absl::string_view file_name) const;
};

inline constexpr absl::string_view kDefaultWatchPattern = "*.kvmd";
// The directory that is watched where no flag names another source.
inline constexpr char kGanetiControlDirectory[] = "/var/run/ganeti/kvm-hypervisor/ctrl";

// Choice of the monitors beside which NAME.shutdown is written. Only Ganeti reads it, and a
// directory of others need not be writable.
enum class ShutdownFiles {
  kOff,
  kGaneti,  // beside sockets whose names end with .kvmd
  kOn,      // beside every socket, as version 0.1.0 did; for tests that play it
};

// Reads a flag's text. INVALID_ARGUMENT names the text and the rule that it breaks.
absl::StatusOr<WatchSpec> ParseWatchSpec(absl::string_view text);

// A monitor that belongs to a VM manager. A QEMU's monitor serves one client: a daemon that holds
// this one stops the manager.
struct ManagerMonitor {
  std::string socket;  // a path that the --watch would take
  std::string owner;   // the program that needs it
  std::string cure;    // advice what to write instead, as an imperative
};

// Advice instead of a watch of the directory, which may contain "*" and is a manager's. Empty:
// no known manager has such a directory.
std::string CureForManagersDirectory(absl::string_view directory);

// The first known manager's monitor that `watch` matches, judged by the paths alone:
// docs/managers.md lists them. Makes no system call.
std::optional<ManagerMonitor> FindManagerMonitor(const WatchSpec& watch);

}  // namespace vmeventd
