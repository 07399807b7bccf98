#pragma once

#include <string>

#include "client/sources/list_source.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// Explains a list that is empty because the filter has a label that no VM has. The text ends a
// sentence, and names the most similar label and the known ones. Empty: the filter has no such
// label. Asks the source for all VMs.
std::string ExplainLabels(const v1::EventFilter& filter, ListSource* source);

}  // namespace vmeventd::client
