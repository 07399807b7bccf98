#pragma once

#include <string>

#include "client/sources/list_source.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// Explains a list that is empty because the filter has a run ID or a source that no event and no VM
// has. The text ends a sentence. Empty: the filter has none, or the source cannot be asked.
std::string ExplainRuns(const v1::EventFilter& filter, ListSource* source);

}  // namespace vmeventd::client
