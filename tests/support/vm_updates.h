#pragma once

#include <string>

#include "absl/time/time.h"
#include "tests/support/test_time.h"
#include "vmeventd/contract/enums.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/vm_update.h"

// Updates like the watcher's, and their parts. Times are At(0) unless given.

namespace vmeventd {

v1::Vm Status(const std::string& name, const std::string& run_id,
              VmState state = VmState::kRunning);
VmUpdate Update(const std::string& name, EventType type, absl::Time time = At(0));
// A RESET of the VM "a".
inline VmUpdate Reset() { return Update("a", EventType::kReset); }
// Like Update(), for a VM of `source` instead of "qmp:/run/vms".
VmUpdate UpdateFrom(const std::string& source, const std::string& name, EventType type);
// A large RESET: 250 of them take a megabyte.
VmUpdate LargeUpdate(const std::string& name);
VmUpdate Stopped(const std::string& name, const std::string& run_id, ShutdownClass shutdown_class);

}  // namespace vmeventd
