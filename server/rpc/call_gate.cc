#include "server/rpc/call_gate.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "server/rpc/incoming_call.h"
#include "watcher/core/shutting_down.h"

namespace vmeventd {

CallGate::Position CallGate::Add(IncomingCall* call) {
  const absl::Duration until = clock_->Now().monotonic + kRequestTime;
  const MutexLock lock(&mutex_);
  return waiting_.insert(waiting_.end(), {call, until});
}

int CallGate::EndUntil(absl::Duration time, const absl::Status& status) {
  // A call in the list cannot end while the lock is held. A call that was taken cannot end before
  // it is ended here.
  std::vector<IncomingCall*> taken;
  {
    const MutexLock lock(&mutex_);
    for (const Waiting& waiting : waiting_) {
      if (waiting.until > time) break;
      if (waiting.call->TakeWhileReading()) taken.push_back(waiting.call);
    }
  }
  for (IncomingCall* const call : taken) call->End(status);
  return static_cast<int>(taken.size());
}

void CallGate::EndOverdue() {
  const int ended =
      EndUntil(clock_->Now().monotonic,
               absl::DeadlineExceededError(absl::StrCat("the request was not complete within ",
                                                        absl::FormatDuration(kRequestTime))));
  for (int i = 0; i < ended; ++i) refusals_->Count(Refusal::kRequestTime);
}

void CallGate::Drain() {
  clients_->Drain();
  EndUntil(absl::InfiniteDuration(), ShuttingDown());
}

}  // namespace vmeventd
