#pragma once

#include <string>

#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// Types of the events that are dropped and deleted last. The contract, the documents and an alert
// list them as EvidenceNames() does, which a test compares; the journal's SQL has their numbers.
inline constexpr v1::EventType kEvidence[] = {v1::EVENT_TYPE_STARTED, v1::EVENT_TYPE_STOPPED,
                                              v1::EVENT_TYPE_INTENT_DECLARED,
                                              v1::EVENT_TYPE_INTENT_ENDED, v1::EVENT_TYPE_GAP};
bool IsEvidence(v1::EventType type);
// The names of these types, for people: "STARTED, STOPPED, INTENT_DECLARED, INTENT_ENDED and GAP".
std::string EvidenceNames();

}  // namespace vmeventd
