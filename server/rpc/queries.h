#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "server/eventlog/event_listing.h"
#include "server/eventlog/event_log.h"
#include "server/rpc/request_checks.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// A ListEvents call in progress: answered in turns of some milliseconds, so that others get theirs
// in between.
class EventsQuery {
 public:
  // A page ends after this many turns, so it may be empty though another page follows.
  static constexpr int kMaxTurns = 15;

  // Runs one turn. Returns the bytes of the response; unset: call it again. The history
  // thread, with its reader.
  std::optional<absl::StatusOr<std::string>> Continue(
      const absl::StatusOr<JournalReader*>& journal);

 private:
  friend class Queries;
  EventsQuery(const EventLog* log, std::string question, EventListing listing)
      : log_(log), question_(std::move(question)), listing_(std::move(listing)) {}

  const EventLog* const log_;
  const std::string question_;
  EventListing listing_;
  int turns_ = 0;
};

// Answers the queries about events and VMs with the bytes of their responses: stored encodings are
// not encoded again. Checks its requests. Any thread, unless stated otherwise.
class Queries {
 public:
  // The largest response: a page ends early to stay below it.
  static constexpr size_t kMaxResponseBytes = 1 << 20;

  // `log` must outlive it.
  explicit Queries(const EventLog* log) : log_(log) {}

  absl::StatusOr<std::unique_ptr<EventsQuery>> ListEvents(
      const v1::ListEventsRequest& request) const;
  absl::StatusOr<std::string> ListVms(const v1::ListVmsRequest& request) const;
  absl::StatusOr<std::string> GetVm(const v1::GetVmRequest& request) const;

 private:
  const EventLog* const log_;
};

}  // namespace vmeventd
