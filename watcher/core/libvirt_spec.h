#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace vmeventd {

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

// Returns whether `pattern` is more than a plain name.
bool HasWildcard(absl::string_view pattern);

// INVALID_ARGUMENT says what is wrong and what would be right. Accepted:
//   qemu:///system  qemu:///session  qemu+unix:///system?socket=PATH
//   qemu+unix:///session?socket=PATH  lxc:///system  lxc+unix:///system?socket=PATH
absl::StatusOr<LibvirtSpec> ParseLibvirtUri(absl::string_view uri);

// Returns whether a URI of these is of libvirt's driver of containers.
bool IsContainerUri(absl::string_view uri);

// VmRef::source of a domain that was found at `uri`.
std::string DomainSource(absl::string_view uri);

}  // namespace vmeventd
