#pragma once

#include <string>

#include "absl/time/time.h"
#include "client/output/node_event.h"

namespace vmeventd::client {

// An event with which to test a receiver. Its text says that it is a test; its VM does not exist.
NodeEvent TrialEvent(const std::string& node, absl::Time now);

}  // namespace vmeventd::client
