#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "server/eventlog/journal_reader.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// Reads the events [first, last] of the journal, with the GAPs that retention left among them.
// `*through` gets the sequence up to which they were read.
absl::StatusOr<std::vector<v1::Event>> JournalEvents(JournalReader* journal, uint64_t first = 1,
                                                     uint64_t last = INT64_MAX,
                                                     uint64_t* through = nullptr);

}  // namespace vmeventd
