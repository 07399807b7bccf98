#pragma once

#include <string>

#include "absl/time/time.h"
#include "vmeventd/contract/enums.h"
#include "vmeventd/v1/vm_events.pb.h"

// Output of the watcher: the messages of vm_events.proto. The enumerations are generated from
// vm_events.proto. All text is valid UTF-8.

namespace vmeventd {

v1::Event MakeEvent(EventType type, std::string message);
// A GAP, observed at `time`.
v1::Event MakeGap(GapReason reason, std::string message, absl::Time time);

}  // namespace vmeventd
