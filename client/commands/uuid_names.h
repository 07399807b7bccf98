#pragma once

#include <optional>

#include "client/connect/failure.h"
#include "client/sources/list_source.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// Moves names of the filter that are the UUIDs of VMs to its UUIDs. Failure with kUsage: the filter
// also has other names.
std::optional<Failure> TakeUuids(ListSource* source, v1::EventFilter* filter);

}  // namespace vmeventd::client
