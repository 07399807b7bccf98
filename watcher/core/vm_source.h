#pragma once

#include <string>

#include "absl/strings/string_view.h"

// VmRef::source: what found a VM, and where. Pure.

namespace vmeventd {

// Keys of sources that other parts ask for, as the contract has them.
inline constexpr char kQmpKey[] = "qmp";
inline constexpr char kLibvirtKey[] = "libvirt";

struct VmSource {
  std::string key;    // SourceKind::key of the source; has no colon
  std::string where;  // of kQmpKey the monitor's directory, of kLibvirtKey the connection's URI

  // VmRef::source.
  std::string text() const;
};

// Parses VmRef::source. If it is empty, as in an event of no VM, so are both parts.
VmSource ParseVmSource(absl::string_view text);

}  // namespace vmeventd
