#pragma once

#include <cstdint>
#include <string>

#include "vmeventd/v1/vm_events.pb.h"

// Requests for streams of events, named after where these start.

namespace vmeventd {

inline v1::WatchEventsRequest Live() { return {}; }

inline v1::WatchEventsRequest FromTheOldest() {
  v1::WatchEventsRequest request;
  request.set_from_oldest(true);
  return request;
}

// A stream after a cursor of `journal_id`.
inline v1::WatchEventsRequest After(uint64_t sequence, const std::string& journal_id) {
  v1::WatchEventsRequest request;
  request.set_after_sequence(sequence);
  request.set_journal_id(journal_id);
  return request;
}

}  // namespace vmeventd
