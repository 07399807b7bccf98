#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "server/eventlog/event_listing.h"
#include "server/eventlog/event_log.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// Answers the queries about events and VMs with the bytes of their responses: what is stored
// encoded is not encoded again. Checks the requests. Any thread, unless stated otherwise.
class Queries {
 public:
  // The largest response: a page ends early to stay below it.
  static constexpr size_t kMaxResponseBytes = 1 << 20;

  // `log` must outlive it.
  explicit Queries(EventLog* log) : log_(log) {}

  // Calls `answer` once: immediately, or after some turns on the history thread, where peers
  // alternate. Calls `cancelled` before each turn, and not after `answer`.
  using Answer = std::function<void(const absl::StatusOr<std::string>&)>;
  void ListEvents(const v1::ListEventsRequest& request, const std::string& peer,
                  const std::function<bool()>& cancelled, const Answer& answer);
  // Calls `answer` and `cancelled` like ListEvents.
  void CountEvents(const v1::CountEventsRequest& request, const std::string& peer,
                   const std::function<bool()>& cancelled, const Answer& answer);
  // Answers the queries that wait for a disk that hangs. Call it about every second.
  void EndHung();
  absl::StatusOr<std::string> ListVms(const v1::ListVmsRequest& request) const;
  absl::StatusOr<std::string> GetVm(const v1::GetVmRequest& request) const;

 private:
  class WaitingList;

  // Collects one page in turns, and answers with what `finish` makes of it and of the next token.
  using Finish = std::function<std::string(const EventListing&, const std::string& next_token)>;
  struct Page {
    std::string question;
    std::string token;  // page token of the request
    v1::ListEventsRequest list;
    EventListing::Count count;
    Finish finish;
  };
  void Collect(Page page, const std::string& peer, const std::function<bool()>& cancelled,
               const Answer& answer);

  EventLog* const log_;
  Mutex mutex_;
  std::vector<std::weak_ptr<WaitingList>> waiting_ ABSL_GUARDED_BY(mutex_);  // some may be over
};

}  // namespace vmeventd
