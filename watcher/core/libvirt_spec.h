#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "watcher/core/source_setting.h"

// The libvirts that are followed, as --libvirt names them. Pure.

namespace vmeventd {

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

extern const SourceSetting kLibvirtSetting;

// VmRef::source of a domain that was found at `uri`.
std::string DomainSource(absl::string_view uri);

}  // namespace vmeventd
