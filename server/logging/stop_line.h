#pragma once

#include <string>

#include "nlohmann/json.hpp"
#include "spdlog/common.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// The fields of a STOPPED for the log: the VM, class and cause, and the evidence.
nlohmann::ordered_json StopFields(const v1::Event& event);

// The line of a STOPPED for kStopLogger. Made when the event is encoded, but written once the event
// is public, so the log has no stop that the journal lacks. Writes nothing if kStopLogger does not
// exist or does not log the level. A warning if an operator should look at it (CRASH and UNKNOWN).
class StopLine {
 public:
  explicit StopLine(const v1::Event& event);
  void Log() const;

 private:
  spdlog::level::level_enum level_;
  std::string fields_;  // empty: nothing is logged
};

}  // namespace vmeventd
