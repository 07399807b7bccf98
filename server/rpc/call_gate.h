#pragma once

#include <list>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/access/clients.h"
#include "server/access/refusals.h"

namespace vmeventd {

class IncomingCall;

// The limits for all calls of all listeners: how many each peer may open, and how long a request
// may take to arrive. Any thread.
class CallGate {
 public:
  static constexpr absl::Duration kRequestTime = absl::Seconds(10);

  // The pointers must outlive the gate, and the gate every call.
  CallGate(Clients* clients, const Clock* clock, RefusalCounters* refusals)
      : clients_(clients), clock_(clock), refusals_(refusals) {}

  // Ends the calls whose request has not arrived within kRequestTime. Call it about every second.
  void EndOverdue();
  // Refuses every new call with UNAVAILABLE, and ends those whose request has not arrived.
  void Drain();

 private:
  friend class IncomingCall;
  struct Waiting {
    IncomingCall* call;
    absl::Duration until;  // monotonic
  };
  using Position = std::list<Waiting>::iterator;

  Position Add(IncomingCall* call);
  void Remove(Position position) {
    const MutexLock lock(&mutex_);
    waiting_.erase(position);
  }
  // Ends the calls whose deadline is `time` or earlier; returns their number.
  int EndUntil(absl::Duration time, const absl::Status& status);

  Clients* const clients_;
  const Clock* const clock_;
  RefusalCounters* const refusals_;
  Mutex mutex_;
  std::list<Waiting> waiting_ ABSL_GUARDED_BY(mutex_);  // oldest first
};

}  // namespace vmeventd
