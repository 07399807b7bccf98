#include "server/rpc/vm_event_service.h"

#include <atomic>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/random.h"
#include "server/events/event_codec.h"
#include "server/rpc/raw_message.h"
#include "server/rpc/request_checks.h"
#include "server/stream/grpc_status.h"

namespace vmeventd {
namespace {

constexpr size_t kMaxRequestBytes = 1 << 20;

// Finishes a call with the bytes of its response, or returns the error.
absl::Status FinishCall(const absl::StatusOr<std::string>& answered, grpc::ByteBuffer* response,
                        grpc::ServerUnaryReactor* reactor) {
  if (answered.ok()) {
    const grpc::Slice slice(*answered);
    *response = grpc::ByteBuffer(&slice, 1);
  }
  reactor->Finish(ToGrpcStatus(answered.status()));
  return answered.status();
}

// A ListEvents call, which may be cancelled while it waits for its turn.
class ListEventsCall : public grpc::ServerUnaryReactor {
 public:
  // Whether the client has cancelled. Outlives the call.
  std::shared_ptr<const std::atomic<bool>> cancelled() const { return cancelled_; }

  void OnCancel() override { *cancelled_ = true; }
  void OnDone() override { delete this; }

 private:
  const std::shared_ptr<std::atomic<bool>> cancelled_ = std::make_shared<std::atomic<bool>>(false);
};

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

// Parses a request and answers it with `answer`, which returns the bytes of the response.
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
  if (!status.ok()) return backend_->hub()->Refuse(status);
  const absl::StatusOr<WatchRequest> checked = CheckWatchEvents(message);
  if (!checked.ok()) return backend_->hub()->Refuse(checked.status());
  return backend_->hub()->Open(context, *checked, message.filter(), policy_->Peer(*context));
}

grpc::ServerUnaryReactor* VmEventServiceImpl::ListEvents(grpc::CallbackServerContext* context,
                                                         const grpc::ByteBuffer* request,
                                                         grpc::ByteBuffer* response) {
  auto* const call = new ListEventsCall;  // deletes itself when done
  const auto begin = [&]() -> absl::StatusOr<std::shared_ptr<EventsQuery>> {
    v1::ListEventsRequest message;
    absl::Status status = Parse(*request, &message);
    if (status.ok()) status = policy_->CheckListRate(*context);
    if (!status.ok()) return status;
    return backend_->queries().ListEvents(message);
  };
  const absl::StatusOr<std::shared_ptr<EventsQuery>> query = begin();
  if (!query.ok()) {
    call->Finish(ToGrpcStatus(query.status()));
    return call;
  }
  const auto turn = [this, call, response, query = *query](
                        const absl::StatusOr<JournalReader*>& journal) -> absl::StatusOr<bool> {
    // Among the journal's errors, only its reader queue returns this code.
    if (absl::IsResourceExhausted(journal.status())) backend_->refusals()->Count(Refusal::kQueries);
    const std::optional<absl::StatusOr<std::string>> answer = query->Continue(journal);
    if (!answer.has_value()) return false;
    if (absl::Status failed = FinishCall(*answer, response, call); !failed.ok()) return failed;
    return true;
  };
  const auto cancelled = [cancelled = call->cancelled()] { return cancelled->load(); };
  backend_->read_queue()->PostQuery(policy_->Peer(*context), {turn, cancelled});
  return call;
}

grpc::ServerUnaryReactor* VmEventServiceImpl::ListVms(grpc::CallbackServerContext* context,
                                                      const grpc::ByteBuffer* request,
                                                      grpc::ByteBuffer* response) {
  return Unary<v1::ListVmsRequest>(
      context, *request, response,
      [this, context](const v1::ListVmsRequest& message) -> absl::StatusOr<std::string> {
        if (absl::Status status = policy_->CheckVmsRate(*context); !status.ok()) return status;
        return backend_->queries().ListVms(message);
      });
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
    absl::Status status = policy_->CheckOperator(*context);
    if (status.ok()) status = Parse(*request, &message);
    if (!status.ok()) return status;
    absl::StatusOr<IntentRequest> checked = CheckDeclareIntent(message);
    if (!checked.ok()) return checked.status();
    absl::StatusOr<std::string> intent_id = RandomUuid();
    if (!intent_id.ok()) return intent_id.status();
    checked->intent_id = *std::move(intent_id);
    const auto answer_if_durable = [this, answer](const absl::StatusOr<Intent>& declared) {
      if (!declared.ok()) return answer(declared);
      const absl::Status durable = backend_->CheckDurable("the intent is withdrawn");
      if (durable.ok()) return answer(declared);
      backend_->TakeBackIntent(declared->intent_id);
      answer(durable);
    };
    return backend_->WithWatcher([&](NodeWatcher* watcher) {
      watcher->DeclareIntent(*std::move(checked), answer_if_durable);
    });
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
    absl::Status status = policy_->CheckOperator(*context);
    if (status.ok()) status = Parse(*request, &message);
    if (status.ok()) status = CheckWithdrawIntent(message);
    if (!status.ok()) return status;
    const auto answer_if_durable = [this, answer](const absl::Status& withdrawn) {
      answer(withdrawn.ok() ? backend_->CheckDurable("the intent is withdrawn until then")
                            : withdrawn);
    };
    return backend_->WithWatcher([&](NodeWatcher* watcher) {
      watcher->WithdrawIntent(message.intent_id(), answer_if_durable);
    });
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
