#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/mutex.h"
#include "base/token_bucket.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/update_sink.h"
#include "watcher/node/intent_request.h"
#include "watcher/runs/run_table.h"

namespace vmeventd {

// Maximum number of DeclareIntent and WithdrawIntent requests that wait for an answer, together.
inline constexpr int kMaxIntentRequests = 1000;

// Rate limit of a node's declarations. Each makes two events, to which no other limit applies: they
// must not push the history out of the journal faster than VMs may.
inline constexpr TokenRate kNodeIntents{.per_second = 5, .burst = 10'000};

// Requests about intents from other threads, carried out on the loop thread.
// NodeWatcher::DeclareIntent says what `done` gets. Requests still pending when this is destroyed
// get UNAVAILABLE.
class IntentRequests {
 public:
  // All pointers must outlive this. Without `limited`, kNodeIntents does not apply.
  IntentRequests(EventLoop* loop, RunTable* runs, UpdateSink* sink, bool limited)
      : loop_(loop), runs_(runs), sink_(sink), limited_(limited) {}
  ~IntentRequests();

  // Any thread.
  void Declare(IntentRequest request, std::function<void(absl::StatusOr<v1::Intent>)> done);
  void Withdraw(std::string intent_id, std::function<void(absl::Status)> done);

  // Carries out the pending requests. Loop thread.
  void Handle();

 private:
  // Gets an empty intent after a withdrawal.
  using Done = std::function<void(absl::StatusOr<v1::Intent>)>;
  struct Task {
    std::function<void(const Done& done)> handle;
    Done done;
  };

  void Add(Task task);
  std::vector<Task> Take();
  void HandleDeclare(const IntentRequest& request, const Done& done);
  void HandleWithdraw(const std::string& intent_id, const Done& done);
  // TOO_MANY_INTENTS if the node has declared too many.
  absl::Status TakeToken();
  // The run that `request` means, if it lives. `*ending` gets one that lived at `started_before`,
  // and whose process has ended since.
  absl::StatusOr<VmRun*> RunFor(const IntentRequest& request, std::optional<v1::VmRef>* ending);
  // Publishes INTENT_LATE for the run of `vm`, and then answers with `why`. `saved_run`: of a run
  // that lives, so that it is saved with the sequence of its last event.
  void RecordLate(const v1::Vm& vm, std::optional<std::string> saved_run,
                  const IntentRequest& request, const absl::Status& why, const Done& done);

  EventLoop* const loop_;
  RunTable* const runs_;
  UpdateSink* const sink_;
  const bool limited_;
  TokenBucket node_intents_{kNodeIntents};
  Mutex mutex_;
  std::vector<Task> tasks_ ABSL_GUARDED_BY(mutex_);
  // Number of requests without an answer yet; their callbacks may outlive this.
  const std::shared_ptr<std::atomic<int>> unanswered_ = std::make_shared<std::atomic<int>>(0);
};

}  // namespace vmeventd
