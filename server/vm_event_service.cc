#include "server/vm_event_service.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/event_codec.h"
#include "server/grpc_status.h"
#include "server/random.h"
#include "server/raw_message.h"
#include "server/request_checks.h"

namespace vmeventd {
namespace {

constexpr size_t kMaxRequestBytes = 1 << 20;

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

}  // namespace

template <typename Message>
absl::Status VmEventServiceImpl::Parse(const grpc::ByteBuffer& bytes, Message* message) const {
  if (bytes.Length() > kMaxRequestBytes) {
    backend_->refusals()->Count(Refusal::kRequestSize);
    return absl::ResourceExhaustedError(absl::StrCat(
        "the request has ", bytes.Length(), " bytes, at most ", kMaxRequestBytes, " are allowed"));
  }
  return ParseMessage(bytes, message);
}

// Reads one request, answers it with `answer`, which returns the bytes of the response.
template <typename Request, typename Answer>
grpc::ServerUnaryReactor* VmEventServiceImpl::Unary(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer& bytes,
                                                    grpc::ByteBuffer* response, Answer answer) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  Request request;
  absl::Status status = Parse(bytes, &request);
  FinishCall(status.ok() ? answer(request) : status, response, reactor).IgnoreError();
  return reactor;
}

grpc::ServerWriteReactor<grpc::ByteBuffer>* VmEventServiceImpl::WatchEvents(
    grpc::CallbackServerContext* context, const grpc::ByteBuffer* request) {
  v1::WatchEventsRequest message;
  const absl::Status status = Parse(*request, &message);
  return status.ok() ? backend_->hub()->Open(context, message, guard_->Peer(*context))
                     : backend_->hub()->Refuse(status);
}

grpc::ServerUnaryReactor* VmEventServiceImpl::ListEvents(grpc::CallbackServerContext* context,
                                                         const grpc::ByteBuffer* request,
                                                         grpc::ByteBuffer* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  v1::ListEventsRequest message;
  absl::Status status = Parse(*request, &message);
  if (status.ok()) status = guard_->CheckListRate(*context);
  if (status.ok()) {
    status = backend_->history()->PostQuery([this, reactor, response, message = std::move(message)](
                                                const absl::StatusOr<JournalReader*>& journal) {
      return FinishCall(backend_->queries().ListEvents(message, journal), response, reactor);
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
      [this](const v1::ListVmsRequest& message) { return backend_->queries().ListVms(message); });
}

grpc::ServerUnaryReactor* VmEventServiceImpl::GetVm(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request,
                                                    grpc::ByteBuffer* response) {
  return Unary<v1::GetVmRequest>(
      context, *request, response,
      [this](const v1::GetVmRequest& message) { return backend_->queries().GetVm(message); });
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
    absl::Status status = guard_->CheckOperator(*context);
    if (status.ok()) status = Parse(*request, &message);
    if (!status.ok()) return status;
    absl::StatusOr<IntentRequest> checked = CheckDeclareIntent(message);
    if (!checked.ok()) return checked.status();
    absl::StatusOr<std::string> intent_id = RandomUuid();
    if (!intent_id.ok()) return intent_id.status();
    checked->intent_id = *std::move(intent_id);
    return backend_->WithWatcher(
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
    absl::Status status = guard_->CheckOperator(*context);
    if (status.ok()) status = Parse(*request, &message);
    if (status.ok()) status = CheckWithdrawIntent(message);
    if (!status.ok()) return status;
    return backend_->WithWatcher(
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
        return backend_->Info().SerializeAsString();
      });
}

}  // namespace vmeventd
