#pragma once

#include <string>

#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// The party that ended the VM, for people: "alice", "virtqemud", "the guest", "libvirt", "the
// host".
std::string WhoOf(const v1::ShutdownDetail& shutdown, const v1::VmRef& vm);

}  // namespace vmeventd
