#pragma once

#include <cstdint>
#include <optional>

#include "absl/time/time.h"
#include "client/output/node_event.h"
#include "client/output/wanted.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {

// Events of the past.
struct EventsCommand {
  // The filter and the order of the events, without a page. It is sent to a daemon, and applied
  // here to a fleet's stream.
  v1::ListEventsRequest request;
  std::optional<uint64_t> limit;  // at least 1
  // Only this number of the newest events, at least 1; all are held in memory.
  std::optional<uint64_t> last;

  // Maximum number of events in the answer, of those that count.
  uint64_t max_events() const { return last.value_or(limit.value_or(UINT64_MAX)); }
  bool counts(const NodeEvent& one) const {
    return one.event.has_vm() || AsksForGaps(request.filter());
  }
  // Returns whether a source must deliver the newest event first.
  bool reads_newest_first() const { return request.newest_first() || last.has_value(); }
  void SetTimes(std::optional<absl::Time> since, std::optional<absl::Time> until) {
    if (since) *request.mutable_start_time() = ToTimestamp(*since);
    if (until) *request.mutable_end_time() = ToTimestamp(*until);
  }
};

}  // namespace vmeventd::client
