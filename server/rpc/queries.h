#ifndef VMEVENTD_SERVER_RPC_QUERIES_H_
#define VMEVENTD_SERVER_RPC_QUERIES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "server/events/event_matcher.h"
#include "server/events/event_store.h"
#include "server/journal/journal_reader.h"
#include "server/rpc/request_checks.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// One ListEvents call on its way: it is answered in turns of some milliseconds, between which
// others may have theirs.
class EventsQuery {
 public:
  // A page ends after so many turns, so that it may hold nothing though another follows.
  static constexpr int kMaxTurns = 15;

  // Goes on for a turn. The bytes of the response; unset: call it again. History thread, whose
  // reader it gets.
  std::optional<absl::StatusOr<std::string>> Continue(
      const absl::StatusOr<JournalReader*>& journal);

 private:
  friend class Queries;
  EventsQuery(const EventStore* store, JournalIdentityPtr identity, std::string question,
              EventMatcher matcher, ListEventsBounds bounds, bool newest_first, uint64_t from)
      : store_(store),
        identity_(std::move(identity)),
        question_(std::move(question)),
        matcher_(std::move(matcher)),
        bounds_(bounds),
        newest_first_(newest_first),
        from_(from) {}

  std::string Response() const;

  const EventStore* const store_;
  const JournalIdentityPtr identity_;  // of the journal that `from_` is of
  const std::string question_;
  const EventMatcher matcher_;
  ListEventsBounds bounds_;  // its page_size is what the page still lacks
  const bool newest_first_;
  uint64_t from_;
  std::string events_;
  int turns_ = 0;
};

// The questions about events and VMs, each answered by the bytes of its response message: what is
// stored encoded is not encoded again. Checks its requests. Any thread, where nothing
// else is said.
class Queries {
 public:
  // No answer is longer: a page ends early instead.
  static constexpr size_t kMaxResponseBytes = 1 << 20;

  // `store` outlives it.
  explicit Queries(const EventStore* store) : store_(store) {}

  absl::StatusOr<std::unique_ptr<EventsQuery>> ListEvents(
      const v1::ListEventsRequest& request) const;
  absl::StatusOr<std::string> ListVms(const v1::ListVmsRequest& request) const;
  absl::StatusOr<std::string> GetVm(const v1::GetVmRequest& request) const;

 private:
  const EventStore* const store_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_RPC_QUERIES_H_
