#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "server/access/access_policy.h"
#include "server/access/refusals.h"
#include "server/eventlog/event_log.h"
#include "server/rpc/call_service.h"
#include "server/rpc/incoming_call.h"
#include "server/rpc/queries.h"
#include "server/rpc/server_facts.h"
#include "server/rpc/service_methods.h"
#include "server/stream/stream_hub.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/node/node_watcher.h"

namespace vmeventd {

// The methods once the daemon serves. Any thread; no method blocks.
class VmEventService : public ServiceMethods {
 public:
  // All pointers must outlive the service.
  VmEventService(ServerFacts facts, EventLog* log, StreamHub* hub, RefusalCounters* refusals);

  void AddTo(CallService* methods, AccessPolicy* policy,
             std::function<std::vector<v1::Listener>()> listeners) override;
  void CheckDeadlines() override {
    hub_->CheckDeadlines();
    queries_.EndHung();
  }

  // Sends intents to `watcher` from now on, which must outlive the service. Null: refuses intents
  // from now on; the previous watcher still answers its pending ones, and may then be destroyed.
  void SetWatcher(NodeWatcher* watcher) {
    const MutexLock lock(&mutex_);
    watcher_ = watcher;
  }

 private:
  // Requirements of a method besides a valid request.
  enum Needs : unsigned { kNothing = 0, kOperator = 1, kRate = 2 };
  // Reads a request. An error is the reason for a refusal: the caller's rights, the request's size
  // (counted) or encoding, or the caller's rate.
  template <typename Request>
  absl::Status Admit(const IncomingCall& call, unsigned needs, Request* request) const;

  absl::StatusOr<std::string> ListStreams(const v1::ListStreamsRequest& request) const;
  absl::StatusOr<std::string> GetServerInfo(const v1::GetServerInfoRequest& request) const;

  void WatchEvents(IncomingCall* call);
  void ListEvents(IncomingCall* call);
  void CountEvents(IncomingCall* call);
  void DeclareIntent(IncomingCall* call);
  // Returns the stopped run that lived at `started_before` and that the request would otherwise
  // mean.
  std::optional<v1::VmRef> EndedRun(const IntentRequest& request) const;
  void WithdrawIntent(IncomingCall* call);

  // Calls `use` with the watcher, or returns why intents are not accepted now. `use` must not call
  // back into the service; the watcher answers immediately only with errors.
  absl::Status WithWatcher(const std::function<void(NodeWatcher*)>& use);
  // Checks the event of an intent that was just published; called on the publishing thread. OK if
  // it is durable; else UNAVAILABLE, whose message contains that `what` was done.
  absl::Status CheckDurable(absl::string_view what) const;

  const ServerFacts facts_;
  EventLog* const log_;
  Queries queries_;
  StreamHub* const hub_;
  RefusalCounters* const refusals_;
  AccessPolicy* policy_ = nullptr;
  std::function<std::vector<v1::Listener>()> listeners_;

  mutable Mutex mutex_;
  NodeWatcher* watcher_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace vmeventd
