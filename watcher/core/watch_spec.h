#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

// One --watch DIR[:PATTERN]: the sockets of a directory whose file names match a pattern, or of one
// directory for each VM, where DIR has a '*'.
struct WatchSpec {
  std::string directory;  // absolute, without "." or ".." or a trailing slash; may have one '*'
  std::string prefix;     // the pattern's text before its one '*'
  std::string suffix;     // the text after it
  bool one_file = false;  // the pattern is `prefix`, without a '*': only where `directory` has one
  bool optional = false;  // nobody misses a directory that is not there

  std::string pattern() const { return one_file ? prefix : prefix + "*" + suffix; }
  std::string text() const { return directory + ":" + pattern(); }
  bool has_directories() const { return directory.find('*') != std::string::npos; }
  // The directory that is there without a VM: `directory` up to the component that has the '*'.
  std::string root() const;
  // The path of what is called `below` in the root.
  std::string PathOf(absl::string_view below) const;

  // Returns whether its sockets are QMP monitors by their name: *.qmp, *.kvmd. Others may be any
  // program's.
  bool names_monitors() const;
  // Returns whether the pattern matches a file's name.
  bool TakesFile(absl::string_view file_name) const;
  // The VM's name of the socket at `path`: the text that the '*' of the directory stands for, or
  // that of the pattern where the directory has none. Unset where the path does not match or the
  // name would be empty. Raw bytes: the caller escapes.
  std::optional<std::string> VmName(absl::string_view path) const;
  // The directory of the VM whose entry in the root is called `entry`. Unset where that does not
  // match. Only where the directory has a '*'.
  std::optional<std::string> DirectoryOf(absl::string_view entry) const;
};

// Ganeti's directory, whose monitors for a follower are *.kvmd; the default pattern elsewhere is
// *.qmp.
inline constexpr char kGanetiControlDirectory[] = "/var/run/ganeti/kvm-hypervisor/ctrl";
// The watch of Ganeti's directory where the configuration names no source.
WatchSpec GanetiIfThere();

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

// The first known manager's monitor that `watch` matches, judged by the paths alone:
// docs/managers.md lists them. Makes no system call.
std::optional<ManagerMonitor> FindManagerMonitor(const WatchSpec& watch);

}  // namespace vmeventd
