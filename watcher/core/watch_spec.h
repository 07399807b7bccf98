#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "watcher/core/source_setting.h"

// The places in which --watch looks for the monitors of QEMUs. Pure.

namespace vmeventd {

// One --watch DIR[:PATTERN]: the sockets in DIR whose file names match PATTERN. If DIR has a '*',
// each VM has its own directory.
struct WatchSpec {
  std::string directory;  // absolute, without "." or ".." or a trailing slash; may have one '*'
  std::string pattern;    // has one '*', or is a file's name where `directory` has one
  bool optional = false;  // a missing directory is no problem

  std::string text() const { return directory + ":" + pattern; }
  bool has_directories() const { return directory.find('*') != std::string::npos; }
  // The directory that exists even without VMs: `directory` up to the component with the '*'.
  std::string root() const;
  // The path of `below`, which is relative to the root.
  std::string PathOf(absl::string_view below) const;

  // Returns whether the pattern (*.qmp, *.kvmd) shows that the sockets are QMP monitors. Other
  // sockets may belong to any program.
  bool names_monitors() const;
  // Returns whether the pattern matches a file's name.
  bool TakesFile(absl::string_view file_name) const;
  // The name of the VM whose socket is at `path`: the text that the '*' of the directory stands
  // for, or the '*' of the pattern if the directory has none. Unset if the path does not match or
  // the name would be empty. Raw bytes: the caller escapes.
  std::optional<std::string> VmName(absl::string_view path) const;
  // The directory of the VM whose entry in the root is called `entry`; unset if that does not
  // match. Only for a directory with a '*'.
  std::optional<std::string> DirectoryOf(absl::string_view entry) const;
};

// The watch of Ganeti's directory, which need not exist; used if the configuration names no source.
WatchSpec OptionalGanetiWatch();

// Reads a flag's text. INVALID_ARGUMENT names the text and the rule that it breaks.
absl::StatusOr<WatchSpec> ParseWatchSpec(absl::string_view text);

extern const SourceSetting kWatchSetting;
extern const SourceSetting kWatchManagerSocketsSetting;

}  // namespace vmeventd
