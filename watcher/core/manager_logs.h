#pragma once

// The directories in which managers have a NAME.log for each QEMU, with its standard error.

namespace vmeventd {

inline constexpr char kGanetiLogs[] = "/var/log/ganeti/kvm";
inline constexpr char kLibvirtLogs[] = "/var/log/libvirt/qemu";

}  // namespace vmeventd
