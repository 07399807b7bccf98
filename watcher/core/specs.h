#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// The sources of VMs, as flags name them. Pure.

namespace vmeventd {

// One --watch DIR[:PATTERN]: the sockets of a directory whose file names match a pattern, or of one
// directory for each VM, where DIR has a '*'.
struct WatchSpec {
  std::string directory;  // absolute, without "." or ".." or a trailing slash; may have one '*'
  std::string pattern;    // has one '*', or is a file's name where `directory` has one
  bool optional = false;  // nobody misses a directory that is not there

  std::string text() const { return directory + ":" + pattern; }
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
// Returns whether it is that directory; /var/run stands for /run.
bool IsGanetiControlDirectory(absl::string_view directory);
// The watch of Ganeti's directory where the configuration names no source.
WatchSpec GanetiIfThere();

// Reads a flag's text. INVALID_ARGUMENT names the text and the rule that it breaks.
absl::StatusOr<WatchSpec> ParseWatchSpec(absl::string_view text);

// One --libvirt: the libvirts of this node that a URI names.
struct LibvirtSpec {
  bool session = false;     // qemu:///session: a user's libvirt, not the system's
  bool containers = false;  // lxc:///system: its driver of containers, not that of QEMUs
  // Path of libvirt's Unix socket, absolute: each part between slashes is a name or a glob pattern
  // (* ? [a-z]), which no slash and no leading dot matches. Empty: where libvirt itself looks for
  // it.
  std::string socket;
  // Connected to as soon as one of these sockets is there; empty: at once.
  std::vector<std::string> awaited;

  bool has_glob() const;
  // The URI by which libvirt is reached at `path`, a socket that `socket` matches.
  std::string UriAt(absl::string_view path) const;
  // The URI where there is no glob.
  std::string Uri() const;
  // The flag's text, globs included.
  std::string ToFlag() const;

  bool operator==(const LibvirtSpec&) const = default;
};

// The system's libvirt where the configuration names no source: once its socket is there, which is
// libvirtd's or virtqemud's.
LibvirtSpec SystemLibvirtIfThere();

// INVALID_ARGUMENT names what is wrong and what would be right. Accepted:
//   qemu:///system  qemu:///session  qemu+unix:///system?socket=PATH
//   qemu+unix:///session?socket=PATH  lxc:///system  lxc+unix:///system?socket=PATH
absl::StatusOr<LibvirtSpec> ParseLibvirtUri(absl::string_view uri);

// Returns whether a URI of these is of libvirt's driver of containers.
bool IsContainerUri(absl::string_view uri);

// VmRef::source of a domain that was found at `uri`.
std::string DomainSource(absl::string_view uri);

}  // namespace vmeventd
