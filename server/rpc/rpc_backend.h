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
  // All outlive the backend.
  RpcBackend(ServerFacts facts, const EventStore* store, const Queries* queries, History* history,
             StreamHub* hub, RefusalCounters* refusals);

  const Queries& queries() const { return *queries_; }
  History* history() const { return history_; }
  StreamHub* hub() const { return hub_; }
  RefusalCounters* refusals() const { return refusals_; }

  // Where intents go to, from now on. `watcher` outlives the backend, or StopIntents is called
  // before it ends.
  void SetWatcher(NodeWatcher* watcher);
  // Refuses intents from now on; what the watcher has been given it still answers.
  void StopIntents();
  // Calls `use` with the watcher, unless intents cannot be taken now. Nothing that `use` calls may
  // come back here: what the watcher answers at once is an error.
  absl::Status WithWatcher(const std::function<void(NodeWatcher*)>& use);
  // For the answer about an intent whose event was just published, on the publishing thread: OK if
  // that is durable, else UNAVAILABLE with `what` was done.
  absl::Status CheckDurable(absl::string_view what) const;
  // Withdraws an intent that is not durable, so that what a client hears is true after a restart
  // too. Does not wait.
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
