#include "server/vm_event_service.h"

#include <utility>

#include "server/event_codec.h"
#include "server/grpc_status.h"
#include "server/random.h"
#include "server/raw_message.h"
#include "server/request_checks.h"

namespace vmeventd {
namespace {

// Finishes a call with the bytes of its response, or why there are none.
absl::Status FinishCall(const absl::StatusOr<std::string>& answered, grpc::ByteBuffer* response,
                        grpc::ServerUnaryReactor* reactor) {
  if (answered.ok()) {
    const grpc::Slice slice(*answered);
    *response = grpc::ByteBuffer(&slice, 1);
  }
  reactor->Finish(ToGrpcStatus(answered.status()));
  return answered.status();
}

// Reads one request, answers it with `answer`, which returns the bytes of the response.
template <typename Request, typename Answer>
grpc::ServerUnaryReactor* Unary(grpc::CallbackServerContext* context, const grpc::ByteBuffer& bytes,
                                grpc::ByteBuffer* response, Answer answer) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  Request request;
  absl::Status status = ParseMessage(bytes, &request);
  FinishCall(status.ok() ? answer(request) : status, response, reactor).IgnoreError();
  return reactor;
}

}  // namespace

VmEventServiceImpl::VmEventServiceImpl(ServerFacts facts, const EventStore* store,
                                       const Queries* queries, History* history, StreamHub* hub)
    : facts_(std::move(facts)), store_(store), queries_(queries), history_(history), hub_(hub) {}

grpc::ServerWriteReactor<grpc::ByteBuffer>* VmEventServiceImpl::WatchEvents(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  return hub_->Open(context, *request);
}

grpc::ServerUnaryReactor* VmEventServiceImpl::ListEvents(grpc::CallbackServerContext* context,
                                                         const grpc::ByteBuffer* request,
                                                         grpc::ByteBuffer* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  v1::ListEventsRequest message;
  absl::Status status = ParseMessage(*request, &message);
  if (status.ok()) {
    status = history_->PostQuery([this, reactor, response, message = std::move(message)](
                                     const absl::StatusOr<JournalReader*>& journal) {
      return FinishCall(queries_->ListEvents(message, journal), response, reactor);
    });
  }
  if (!status.ok()) reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

grpc::ServerUnaryReactor* VmEventServiceImpl::ListVms(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  return Unary<v1::ListVmsRequest>(
      context, *request, response,
      [this](const v1::ListVmsRequest& message) { return queries_->ListVms(message); });
}

grpc::ServerUnaryReactor* VmEventServiceImpl::GetVm(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request,
                                                    grpc::ByteBuffer* response) {
  return Unary<v1::GetVmRequest>(
      context, *request, response,
      [this](const v1::GetVmRequest& message) { return queries_->GetVm(message); });
}

void VmEventServiceImpl::SetWatcher(NodeWatcher* watcher) {
  const MutexLock lock(&mutex_);
  watcher_ = watcher;
}

void VmEventServiceImpl::StopIntents() { SetWatcher(nullptr); }

absl::Status VmEventServiceImpl::WithWatcher(const std::function<void(NodeWatcher*)>& use) {
  if (!store_->journal_writable()) {
    return absl::UnavailableError(
        "the journal cannot be written now, so that an intent would be lost with a restart of "
        "vmeventd; try again later");
  }
  const MutexLock lock(&mutex_);
  if (watcher_ == nullptr) return absl::UnavailableError("vmeventd is shutting down");
  use(watcher_);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* VmEventServiceImpl::DeclareIntent(grpc::CallbackServerContext* context,
                                                            const grpc::ByteBuffer* request,
                                                            grpc::ByteBuffer* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const auto answer = [response, reactor](const absl::StatusOr<Intent>& declared) {
    v1::DeclareIntentResponse message;
    if (declared.ok()) *message.mutable_intent() = IntentToProto(*declared);
    FinishCall(declared.ok() ? absl::StatusOr<std::string>(message.SerializeAsString())
                             : declared.status(),
               response, reactor)
        .IgnoreError();
  };
  const auto declare = [&]() -> absl::Status {
    v1::DeclareIntentRequest message;
    if (absl::Status status = ParseMessage(*request, &message); !status.ok()) return status;
    absl::StatusOr<IntentRequest> checked = CheckDeclareIntent(message);
    if (!checked.ok()) return checked.status();
    absl::StatusOr<std::string> intent_id = RandomUuid();
    if (!intent_id.ok()) return intent_id.status();
    checked->intent_id = *std::move(intent_id);
    return WithWatcher(
        [&](NodeWatcher* watcher) { watcher->DeclareIntent(*std::move(checked), answer); });
  };
  if (absl::Status status = declare(); !status.ok()) answer(status);
  return reactor;
}

grpc::ServerUnaryReactor* VmEventServiceImpl::WithdrawIntent(grpc::CallbackServerContext* context,
                                                             const grpc::ByteBuffer* request,
                                                             grpc::ByteBuffer* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  const auto answer = [response, reactor](const absl::Status& withdrawn) {
    FinishCall(withdrawn.ok() ? absl::StatusOr<std::string>("") : withdrawn, response, reactor)
        .IgnoreError();
  };
  const auto withdraw = [&]() -> absl::Status {
    v1::WithdrawIntentRequest message;
    absl::Status status = ParseMessage(*request, &message);
    if (status.ok()) status = CheckWithdrawIntent(message);
    if (!status.ok()) return status;
    return WithWatcher(
        [&](NodeWatcher* watcher) { watcher->WithdrawIntent(message.intent_id(), answer); });
  };
  if (absl::Status status = withdraw(); !status.ok()) answer(status);
  return reactor;
}

grpc::ServerUnaryReactor* VmEventServiceImpl::GetServerInfo(grpc::CallbackServerContext* context,
                                                            const grpc::ByteBuffer* request,
                                                            grpc::ByteBuffer* response) {
  return Unary<v1::GetServerInfoRequest>(
      context, *request, response,
      [this](const v1::GetServerInfoRequest&) -> absl::StatusOr<std::string> {
        return Info().SerializeAsString();
      });
}

v1::GetServerInfoResponse VmEventServiceImpl::Info() const {
  v1::GetServerInfoResponse info;
  info.set_version(facts_.version);
  info.set_node(facts_.node);
  info.set_journal_id(store_->journal_id());
  const EventStore::Range range = store_->range();
  info.set_oldest_sequence(range.oldest);
  info.set_newest_sequence(range.newest);
  *info.mutable_start_time() = ToTimestamp(facts_.start_time);
  for (const WatchedDirectory& directory : store_->directories()) {
    v1::WatchedDirectory* out = info.add_directories();
    out->set_path(directory.path);
    out->set_pattern(directory.pattern);
    out->set_present(directory.present);
    out->set_sockets(directory.sockets);
  }
  info.set_vms(store_->vm_count());
  info.set_streams(hub_->stream_count());
  info.set_journal_writable(store_->journal_writable());
  const MutexLock lock(&mutex_);
  info.set_exit_status_source(watcher_ == nullptr ? "none" : watcher_->exit_status_source());
  return info;
}

}  // namespace vmeventd
