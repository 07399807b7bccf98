#ifndef VMEVENTD_SERVER_LOGGING_STOP_LOG_H_
#define VMEVENTD_SERVER_LOGGING_STOP_LOG_H_

#include <cstdint>
#include <string>

#include "nlohmann/json.hpp"
#include "spdlog/common.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {

// The fields of a STOPPED for the log: the VM, class and cause, and the evidence.
nlohmann::ordered_json StopFields(const VmEvent& event, const VmRef& vm, uint64_t sequence);

// The line of a STOPPED for kStopLogger, made when the event is encoded and written once it is
// public: the journal has then what the log says. Writes nothing if kStopLogger does not exist or
// leaves the level out. A warning if an operator should look at it (CRASH and UNKNOWN).
class StopLine {
 public:
  StopLine(const VmEvent& event, const VmRef& vm, uint64_t sequence);
  void Log() const;

 private:
  spdlog::level::level_enum level_;
  std::string fields_;  // empty: nothing is logged
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_LOGGING_STOP_LOG_H_
