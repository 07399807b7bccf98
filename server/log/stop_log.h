#ifndef VMEVENTD_SERVER_LOG_STOP_LOG_H_
#define VMEVENTD_SERVER_LOG_STOP_LOG_H_

#include <cstdint>

#include "nlohmann/json.hpp"
#include "watcher/core/vm_event.h"

namespace vmeventd {

// What the log says of a STOPPED: which VM, its class and cause, and how the daemon knows.
nlohmann::ordered_json StopFields(const VmEvent& event, const VmRef& vm, uint64_t sequence);

// Writes that to kStopLogger, if there is one: as a warning where somebody should look at it (CRASH
// and UNKNOWN).
void LogStop(const VmEvent& event, const VmRef& vm, uint64_t sequence);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_LOG_STOP_LOG_H_
