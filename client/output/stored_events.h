#pragma once

#include <string>

#include "absl/time/time.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// The content of a journal: "37 events since 2026-11-28 20:57:53".
std::string StoredEvents(const v1::GetServerInfoResponse& info, absl::TimeZone zone);

}  // namespace vmeventd::client
