#include "server/rpc/vm_event_service.h"

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/error_reason.h"
#include "base/uuid.h"
#include "server/events/vm_record.h"
#include "server/rpc/parse_message.h"
#include "server/rpc/request_checks.h"
#include "server/stream/checked_requests.h"
#include "watcher/core/foreign_text.h"
#include "watcher/core/proto_time.h"
#include "watcher/core/shutting_down.h"

namespace vmeventd {
VmEventService::VmEventService(ServerFacts facts, EventLog* log, StreamHub* hub,
                               RefusalCounters* refusals)
    : facts_(std::move(facts)), log_(log), queries_(log), hub_(hub), refusals_(refusals) {}

template <typename Request>
absl::Status VmEventService::Admit(const IncomingCall& call, unsigned needs,
                                   Request* request) const {
  constexpr size_t kMaxRequestBytes = 1 << 20;
  if ((needs & kOperator) != 0) {
    if (absl::Status status = policy_->CheckOperator(call.caller()); !status.ok()) return status;
  }
  if (const size_t size = call.request().Length(); size > kMaxRequestBytes) {
    refusals_->Count(Refusal::kRequestSize);
    return absl::InvalidArgumentError(absl::StrCat("the request has ", size, " bytes, at most ",
                                                   kMaxRequestBytes, " are allowed"));
  }
  absl::Status status = ParseMessage(call.request(), request);
  if (status.ok() && (needs & kRate) != 0) status = policy_->CheckRate(call.caller());
  return status;
}

void VmEventService::AddTo(CallService* methods, AccessPolicy* policy,
                           std::function<std::vector<v1::Listener>()> listeners) {
  policy_ = policy;
  listeners_ = std::move(listeners);
  // A method of `object` that answers at once.
  const auto add = [&]<typename Request, typename Object>(
                       const char* name, unsigned needs, const Object* object,
                       absl::StatusOr<std::string> (Object::*answer)(const Request&) const) {
    methods->Add(MethodPath(name), [this, needs, object, answer](IncomingCall* call) {
      Request request;
      const absl::Status status = Admit(*call, needs, &request);
      call->Answer(status.ok() ? (object->*answer)(request) : status);
    });
  };
  add("ListStreams", kOperator | kRate, this, &VmEventService::ListStreams);
  add("ListVms", kRate, &queries_, &Queries::ListVms);
  add("GetVm", kNothing, &queries_, &Queries::GetVm);
  add("GetServerInfo", kNothing, this, &VmEventService::GetServerInfo);
  using Method = void (VmEventService::*)(IncomingCall*);
  const auto add_late = [&](const char* name, Method method, CallKind kind = CallKind::kOther) {
    methods->Add(
        MethodPath(name), [this, method](IncomingCall* call) { (this->*method)(call); }, kind);
  };
  add_late("WatchEvents", &VmEventService::WatchEvents, CallKind::kStream);
  add_late("ListEvents", &VmEventService::ListEvents);
  add_late("CountEvents", &VmEventService::CountEvents);
  add_late("DeclareIntent", &VmEventService::DeclareIntent);
  add_late("WithdrawIntent", &VmEventService::WithdrawIntent);
}

absl::Status VmEventService::WithWatcher(const std::function<void(NodeWatcher*)>& use) {
  if (!log_->state().journal_writable) {
    return WithReason(
        "JOURNAL_UNAVAILABLE",
        absl::UnavailableError(
            "the journal cannot be written now, so a restart of vmeventd would lose the intent; "
            "try again later"));
  }
  const MutexLock lock(&mutex_);
  if (watcher_ == nullptr) return ShuttingDown();
  use(watcher_);
  return absl::OkStatus();
}

absl::Status VmEventService::CheckDurable(absl::string_view what) const {
  if (log_->state().published_durable) return absl::OkStatus();
  return WithReason("JOURNAL_UNAVAILABLE",
                    absl::UnavailableError(absl::StrCat(
                        "the journal cannot be written now, so a restart of vmeventd would undo "
                        "this: ",
                        what, "; try again later")));
}

void VmEventService::WatchEvents(IncomingCall* call) {
  v1::WatchEventsRequest request;
  const absl::Status status = Admit(*call, kNothing, &request);
  if (!status.ok()) return hub_->Refuse(call, status);
  const absl::StatusOr<WatchRequest> checked = CheckWatchEvents(request);
  if (!checked.ok()) return hub_->Refuse(call, checked.status());
  const CallPeer caller = call->caller();  // a call that is refused may be gone soon
  hub_->Open(call, *checked, request.filter(), caller);
}

absl::StatusOr<std::string> VmEventService::ListStreams(
    const v1::ListStreamsRequest& request) const {
  const absl::StatusOr<StreamPage> page = CheckListStreams(request);
  if (!page.ok()) return page.status();
  return hub_->List(*page, log_->range().newest).SerializeAsString();
}

void VmEventService::ListEvents(IncomingCall* call) {
  v1::ListEventsRequest request;
  const absl::Status status = Admit(*call, kRate, &request);
  if (!status.ok()) return call->Answer(status);
  queries_.ListEvents(
      request, call->caller().peer, [call] { return call->cancelled(); },
      [call](const absl::StatusOr<std::string>& answer) { call->Answer(answer); });
}

void VmEventService::CountEvents(IncomingCall* call) {
  v1::CountEventsRequest request;
  const absl::Status status = Admit(*call, kRate, &request);
  if (!status.ok()) return call->Answer(status);
  queries_.CountEvents(
      request, call->caller().peer, [call] { return call->cancelled(); },
      [call](const absl::StatusOr<std::string>& answer) { call->Answer(answer); });
}

std::optional<v1::VmRef> VmEventService::EndedRun(const IntentRequest& request) const {
  if (!request.has_start()) return std::nullopt;
  const std::vector<VmRecordPtr> named = log_->Vms(
      [&](const VmRegistry& vms, uint64_t) { return vms.Named(request.vm_name, request.uuid); });
  for (const VmRecordPtr& record : named) {
    if (!record->stopped() || (!request.run_id.empty() && record->run_id != request.run_id))
      continue;
    v1::Vm vm;
    // The registry made the encoding, so parsing it does not fail.
    if (!vm.ParseFromString(record->encoded) || !vm.has_start_time()) continue;
    const bool lived = FromTimestamp(vm.start_time()) < request.started_before &&
                       request.started_before <= FromTimestamp(vm.state_time());
    if (lived) return vm.ref();
  }
  return std::nullopt;
}

void VmEventService::DeclareIntent(IncomingCall* call) {
  const auto declare = [&]() -> absl::Status {
    v1::DeclareIntentRequest request;
    absl::Status status = Admit(*call, kOperator, &request);
    if (!status.ok()) return status;
    absl::StatusOr<IntentRequest> checked = CheckDeclareIntent(request);
    if (!checked.ok()) return checked.status();
    checked->intent_id = RandomUuid();
    const CallPeer& caller = call->caller();
    checked->declared_by = caller.certificate_names.empty()
                               ? caller.peer
                               : absl::StrJoin(caller.certificate_names, ", ");
    const auto answer = [this, call](const absl::StatusOr<v1::Intent>& declared) {
      if (!declared.ok()) return call->Answer(declared.status());
      const absl::Status durable = CheckDurable("the intent is withdrawn");
      if (!durable.ok()) {
        // Withdraws the intent, so that the error that the client gets is still true after a
        // restart.
        if (const MutexLock lock(&mutex_); watcher_ != nullptr) {
          watcher_->WithdrawIntent(declared->intent_id(), [](const absl::Status&) {});
        }
        return call->Answer(durable);
      }
      v1::DeclareIntentResponse response;
      *response.mutable_intent() = *declared;
      call->Answer(response.SerializeAsString());
    };
    const auto answer_or_retry = [this, answer,
                                  first = *checked](const absl::StatusOr<v1::Intent>& declared) {
      // All ends are public by now, also that of the run that lived at started_before.
      std::optional<v1::VmRef> ended;
      if (HasReason(declared.status(), "NO_SUCH_VM") ||
          HasReason(declared.status(), "RUN_IS_LATER")) {
        ended = EndedRun(first);
      }
      if (!ended.has_value()) return answer(declared);
      IntentRequest late = first;
      late.ended = std::move(ended);
      const absl::Status sent = WithWatcher(
          [&](NodeWatcher* watcher) { watcher->DeclareIntent(std::move(late), answer); });
      if (!sent.ok()) answer(sent);
    };
    return WithWatcher([&](NodeWatcher* watcher) {
      watcher->DeclareIntent(*std::move(checked), answer_or_retry);
    });
  };
  if (absl::Status status = declare(); !status.ok()) call->Answer(status);
}

void VmEventService::WithdrawIntent(IncomingCall* call) {
  const auto withdraw = [&]() -> absl::Status {
    v1::WithdrawIntentRequest request;
    absl::Status status = Admit(*call, kOperator, &request);
    if (status.ok()) status = CheckName("intent_id", request.intent_id());
    if (!status.ok()) return status;
    const auto answer = [this, call](absl::Status withdrawn) {
      if (withdrawn.ok()) withdrawn = CheckDurable("the intent is withdrawn until then");
      call->Answer(withdrawn.ok() ? absl::StatusOr<std::string>("") : withdrawn);
    };
    return WithWatcher(
        [&](NodeWatcher* watcher) { watcher->WithdrawIntent(request.intent_id(), answer); });
  };
  if (absl::Status status = withdraw(); !status.ok()) call->Answer(status);
}

absl::StatusOr<std::string> VmEventService::GetServerInfo(
    const v1::GetServerInfoRequest& /*request*/) const {
  v1::GetServerInfoResponse info;
  if (const MutexLock lock(&mutex_); watcher_ != nullptr) info = watcher_->Describe();
  info.set_version(facts_.version);
  info.set_node(facts_.node);
  info.set_journal_id(log_->identity().journal_id);
  info.set_node_id(log_->identity().node_id);
  const EventRange range = log_->range();
  info.set_oldest_sequence(range.oldest);
  info.set_newest_sequence(range.newest);
  *info.mutable_start_time() = ToTimestamp(facts_.start_time);
  info.set_streams(hub_->stream_count());
  const EventLog::State log = log_->state();
  info.set_events(static_cast<uint64_t>(log.journal.events));
  if (log.journal.oldest_time < absl::InfiniteFuture()) {
    *info.mutable_oldest_time() = ToTimestamp(log.journal.oldest_time);
  }
  info.set_vms(log.vms);
  info.set_journal_writable(log.journal_writable);
  if (!log.journal_problem.empty()) {
    *info.mutable_journal_problem() = ToProto(log.journal_problem);
  }
  info.set_journal_path(EscapeName(log_->path()));
  for (v1::Listener& listener : listeners_()) *info.add_listeners() = std::move(listener);
  return info.SerializeAsString();
}

}  // namespace vmeventd
