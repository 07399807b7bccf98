#ifndef VMEVENTD_SERVER_RPC_RPC_BACKEND_H_
#define VMEVENTD_SERVER_RPC_RPC_BACKEND_H_

#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "server/access/refusals.h"
#include "server/events/live_state.h"
#include "server/journal/read_queue.h"
#include "server/rpc/queries.h"
#include "server/stream/stream_hub.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/node/node_watcher.h"

namespace vmeventd {

// The part of GetServerInfo that never changes.
struct ServerFacts {
  std::string version;
  std::string node;
  absl::Time start_time;
};

// What the services of all listeners answer from. Any thread.
class RpcBackend {
 public:
  // All pointers must outlive the backend.
  RpcBackend(ServerFacts facts, const LiveState* live_state, const Queries* queries,
             JournalReadQueue* read_queue, StreamHub* hub, RefusalCounters* refusals);

  const Queries& queries() const { return *queries_; }
  JournalReadQueue* read_queue() const { return read_queue_; }
  StreamHub* hub() const { return hub_; }
  RefusalCounters* refusals() const { return refusals_; }

  // From now on, intents go to `watcher`, which must outlive the backend unless StopIntents is
  // called first.
  void SetWatcher(NodeWatcher* watcher);
  // Refuses intents from now on. The watcher still answers those it already has.
  void StopIntents();
  // Calls `use` with the watcher, or returns why intents are not accepted now. `use` must not call
  // back into the backend; an answer the watcher gives at once is an error.
  absl::Status WithWatcher(const std::function<void(NodeWatcher*)>& use);
  // Checks the event of an intent that was just published; called on the publishing thread. OK if
  // it is durable, else UNAVAILABLE, saying that `what` was done.
  absl::Status CheckDurable(absl::string_view what) const;
  // Withdraws an intent that is not durable, so that the client's answer stays true after a
  // restart. Does not block.
  void TakeBackIntent(const std::string& intent_id);

  v1::GetServerInfoResponse Info() const;

 private:
  const ServerFacts facts_;
  const LiveState* const live_state_;
  const Queries* const queries_;
  JournalReadQueue* const read_queue_;
  StreamHub* const hub_;
  RefusalCounters* const refusals_;

  mutable Mutex mutex_;
  NodeWatcher* watcher_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_RPC_RPC_BACKEND_H_
