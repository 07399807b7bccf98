#ifndef VMEVENTD_SERVER_RPC_RPC_BACKEND_H_
#define VMEVENTD_SERVER_RPC_RPC_BACKEND_H_

#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "server/access/refusals.h"
#include "server/events/event_store.h"
#include "server/journal/history.h"
#include "server/rpc/queries.h"
#include "server/stream/stream_hub.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/qmp/node_watcher.h"

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
  RpcBackend(ServerFacts facts, const EventStore* store, const Queries* queries, History* history,
             StreamHub* hub, RefusalCounters* refusals);

  const Queries& queries() const { return *queries_; }
  History* history() const { return history_; }
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
  const EventStore* const store_;
  const Queries* const queries_;
  History* const history_;
  StreamHub* const hub_;
  RefusalCounters* const refusals_;

  mutable Mutex mutex_;
  NodeWatcher* watcher_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_RPC_RPC_BACKEND_H_
