#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

// The sources of VMs, as flags name them. Pure.

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

// Ganeti's directory. The monitors that Ganeti leaves to other programs are *.kvmd there, which is
// the default pattern for it; elsewhere that is *.qmp.
inline constexpr char kGanetiControlDirectory[] = "/var/run/ganeti/kvm-hypervisor/ctrl";
// Returns whether it is that directory; /var/run stands for /run.
bool IsGanetiControlDirectory(absl::string_view directory);
// The watch of Ganeti's directory, which need not exist; used if the configuration names no source.
WatchSpec OptionalGanetiWatch();

// Reads a flag's text. INVALID_ARGUMENT names the text and the rule that it breaks.
absl::StatusOr<WatchSpec> ParseWatchSpec(absl::string_view text);

// The source of a run whose monitor's socket was found at `monitor_path`, in a watched directory:
// "qmp:" and that directory.
std::string QmpSourceName(absl::string_view monitor_path);

// One --libvirt: the libvirts of this node that a URI names.
struct LibvirtSpec {
  bool session = false;     // qemu:///session: a user's libvirt, not the system's
  bool containers = false;  // lxc:///system: its driver for containers, not the one for QEMU
  // Path of libvirt's Unix socket, absolute: each part between slashes is a name or a glob pattern
  // (* ? [a-z]), which matches no slash and no leading dot. Empty: libvirt's own default.
  std::string socket;
  // vmeventd connects as soon as one of these sockets exists; empty: at once.
  std::vector<std::string> awaited;

  bool has_glob() const;
  // The URI by which libvirt is reached at `path`, a socket that `socket` matches.
  std::string UriAt(absl::string_view path) const;
  // The URI, if there is no glob.
  std::string Uri() const;
  // The flag's text, globs included.
  std::string ToFlag() const;

  bool operator==(const LibvirtSpec&) const = default;
};

// The system's libvirt, used if the configuration names no source. vmeventd connects once the
// socket of libvirtd or of virtqemud exists.
LibvirtSpec OptionalSystemLibvirt();

// INVALID_ARGUMENT names what is wrong and what would be right. Accepted:
//   qemu:///system  qemu:///session  qemu+unix:///system?socket=PATH
//   qemu+unix:///session?socket=PATH  lxc:///system  lxc+unix:///system?socket=PATH
absl::StatusOr<LibvirtSpec> ParseLibvirtUri(absl::string_view uri);

// Returns whether `uri`, one of the above, uses libvirt's driver for containers.
bool IsContainerUri(absl::string_view uri);

// VmRef::source of a domain that was found at `uri`.
std::string DomainSource(absl::string_view uri);

// The settings of a node's sources. Each member belongs to one flag; its initializer is the flag's
// default.
struct SourceSpecs {
  std::vector<WatchSpec> watches;
  bool watch_manager_sockets = false;  // connect also to monitors that managers need themselves
  std::vector<LibvirtSpec> libvirts;

  // Returns whether no source is named, so that the default is followed.
  bool is_default() const;
  // The followed sources, for people.
  std::string text() const;
  // Returns the specs with what the default stands for: OptionalGanetiWatch() and
  // OptionalSystemLibvirt().
  SourceSpecs Resolved() const;
};

// A sentence for people: no source is named, so these default sources are followed.
std::string DefaultSourcesText();

}  // namespace vmeventd
