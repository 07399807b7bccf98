#ifndef VMEVENTD_SERVER_LOG_STOP_LOG_H_
#define VMEVENTD_SERVER_LOG_STOP_LOG_H_

#include <cstdint>

#include "nlohmann/json.hpp"
#include "watcher/core/vm_event.h"

namespace vmeventd {

// The fields of a STOPPED for the log: the VM, class and cause, and the evidence.
nlohmann::ordered_json StopFields(const VmEvent& event, const VmRef& vm, uint64_t sequence);

// Logs a STOPPED to kStopLogger, if it exists; as a warning if an operator should look at it (CRASH
// and UNKNOWN).
void LogStop(const VmEvent& event, const VmRef& vm, uint64_t sequence);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_LOG_STOP_LOG_H_
