#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// libvirt's log of a QEMU: libvirt's own lines, and what QEMU writes to its standard error. Pure.

namespace vmeventd {

// Returns whether `path` is libvirt's log of the domain `name`. Seen from another mount namespace,
// the path may begin elsewhere.
bool IsLibvirtLog(absl::string_view path, absl::string_view name);

// Returns whether libvirt wrote the line, and not QEMU.
bool IsLibvirtLogLine(absl::string_view line);

// Returns the part of a libvirt log that was written by the process started at `start`, without its
// command line; "": there is none.
std::string LibvirtLife(absl::string_view log, absl::Time start);

}  // namespace vmeventd
