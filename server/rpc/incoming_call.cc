#include "server/rpc/incoming_call.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/impl/codegen/server_callback_handlers.h"
#include "grpcpp/impl/rpc_service_method.h"
#include "server/stream/grpc_status.h"

namespace vmeventd {

CallGate::Place CallGate::Add(IncomingCall* call) {
  const absl::Duration until = clock_->Now().monotonic + kRequestTime;
  const MutexLock lock(&mutex_);
  return waiting_.insert(waiting_.end(), {call, until});
}

void CallGate::Remove(Place place) {
  const MutexLock lock(&mutex_);
  waiting_.erase(place);
}

int CallGate::EndUntil(absl::Duration time, const grpc::Status& status) {
  // No call in the list can end while the lock is held, nor one that was taken before it is ended
  // here.
  std::vector<IncomingCall*> taken;
  {
    const MutexLock lock(&mutex_);
    for (const Waiting& waiting : waiting_) {
      if (waiting.until > time) break;
      if (waiting.call->TakeWhileReading()) taken.push_back(waiting.call);
    }
  }
  for (IncomingCall* const call : taken) call->Refuse(status);
  return static_cast<int>(taken.size());
}

void CallGate::EndOverdue() {
  const int ended = EndUntil(
      clock_->Now().monotonic,
      {grpc::DEADLINE_EXCEEDED,
       absl::StrCat("the request was not complete within ", absl::FormatDuration(kRequestTime))});
  for (int i = 0; i < ended; ++i) refusals_->Count(Refusal::kRequestTime);
}

void CallGate::Drain() {
  clients_->Drain();
  EndUntil(absl::InfiniteDuration(), {grpc::UNAVAILABLE, "vmeventd is shutting down"});
}

// The reactor of methods written for gRPC's unary calls.
class IncomingCall::Unary : public grpc::ServerCallbackUnary {
 public:
  Unary(IncomingCall* call, grpc::ServerUnaryReactor* inner) : call_(call), inner_(inner) {}
  void Bind() { BindReactor(inner_); }

  void Finish(grpc::Status status) override {
    if (status.ok()) status = call_->HoldAnswer();
    if (!status.ok()) return call_->Refuse(status);
    call_->StartWriteAndFinish(call_->response(), grpc::WriteOptions(), status);
  }
  void SendInitialMetadata() override { call_->StartSendInitialMetadata(); }

 private:
  grpc::internal::ServerReactor* reactor() override { return inner_; }
  void CallOnDone() override {}  // called by IncomingCall::OnDone

  IncomingCall* const call_;
  grpc::ServerUnaryReactor* const inner_;
};

// The reactor of methods written for gRPC's server streams.
class IncomingCall::Writer : public grpc::ServerCallbackWriter<grpc::ByteBuffer> {
 public:
  Writer(IncomingCall* call, grpc::ServerWriteReactor<grpc::ByteBuffer>* inner)
      : call_(call), inner_(inner) {}
  void Bind() { BindReactor(inner_); }

  void Finish(grpc::Status status) override { call_->Refuse(status); }
  void SendInitialMetadata() override { call_->StartSendInitialMetadata(); }
  void Write(const grpc::ByteBuffer* message, grpc::WriteOptions options) override {
    call_->StartWrite(message, options);
  }
  void WriteAndFinish(const grpc::ByteBuffer* message, grpc::WriteOptions options,
                      grpc::Status status) override {
    call_->StartWriteAndFinish(message, options, std::move(status));
  }

 private:
  grpc::internal::ServerReactor* reactor() override { return inner_; }
  void CallOnDone() override {}  // called by IncomingCall::OnDone

  IncomingCall* const call_;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* const inner_;
};

IncomingCall* IncomingCall::Start(grpc::CallbackServerContext* context, CallKind kind,
                                  const Handler* handler, CallGate* gate) {
  auto* const call = new IncomingCall(context, handler, gate);  // OnDone deletes it
  absl::StatusOr<Clients::Call> counted = gate->clients_->Begin(context->peer(), kind);
  if (counted.ok()) {
    call->counted_.emplace(*std::move(counted));
    call->ReadRequest();
  } else {
    call->Reject(ToGrpcStatus(counted.status()));
  }
  return call;
}

IncomingCall* IncomingCall::StartUnknown(grpc::CallbackServerContext* context, CallGate* gate) {
  auto* const call = new IncomingCall(context, nullptr, gate);  // OnDone deletes it
  call->Reject({grpc::UNIMPLEMENTED, "there is no such method"});
  return call;
}

void IncomingCall::Reject(const grpc::Status& status) {
  if (std::optional<Clients::RefusedCall> counted =
          gate_->clients_->BeginRefused(context_->peer())) {
    refused_.emplace(*std::move(counted));
  }
  Refuse(status);
}

IncomingCall::IncomingCall(grpc::CallbackServerContext* context, const Handler* handler,
                           CallGate* gate)
    : context_(context), handler_(handler), gate_(gate) {}

IncomingCall::~IncomingCall() = default;

grpc::Status IncomingCall::HoldAnswer() {
  return ToGrpcStatus(counted_->HoldAnswer(response_.Length()));
}

void IncomingCall::ReadRequest() {
  {
    const MutexLock lock(&mutex_);
    reading_ = true;
  }
  place_ = gate_->Add(this);
  StartRead(&request_);
}

bool IncomingCall::TakeWhileReading() {
  const MutexLock lock(&mutex_);
  return std::exchange(reading_, false);
}

void IncomingCall::OnReadDone(bool ok) {
  gate_->Remove(place_);
  if (!TakeWhileReading()) return;  // it took too long and was ended
  counted_->SetRead();
  if (ok) {
    (*handler_)(this);
  } else if (answered_) {
    Refuse(grpc::Status::OK);
  } else {
    Refuse({grpc::INVALID_ARGUMENT, "the call has no request"});
  }
}

void IncomingCall::AnswerBy(grpc::ServerUnaryReactor* reactor) {
  unary_ = std::make_unique<Unary>(this, reactor);
  unary_->Bind();
  SetInner(reactor);
}

void IncomingCall::AnswerBy(grpc::ServerWriteReactor<grpc::ByteBuffer>* reactor) {
  stream_ = reactor;
  writer_ = std::make_unique<Writer>(this, reactor);
  writer_->Bind();
  SetInner(reactor);
}

void IncomingCall::SetInner(grpc::internal::ServerReactor* reactor) {
  bool cancelled = false;
  {
    const MutexLock lock(&mutex_);
    inner_ = reactor;
    cancelled = cancelled_;
  }
  if (cancelled) reactor->OnCancel();
}

void IncomingCall::Answer(const grpc::ByteBuffer& response) {
  response_ = response;
  StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
}

void IncomingCall::Refuse(const grpc::Status& status) { Finish(status); }

void IncomingCall::AnswerAndReadNext(const grpc::ByteBuffer& response) {
  answered_ = true;
  reads_next_ = true;
  response_ = response;
  StartWrite(&response_);
}

void IncomingCall::OnWriteDone(bool ok) {
  if (stream_ != nullptr) {
    stream_->OnWriteDone(ok);
  } else if (std::exchange(reads_next_, false)) {
    ReadRequest();
  }
}

void IncomingCall::OnCancel() {
  grpc::internal::ServerReactor* inner = nullptr;
  {
    const MutexLock lock(&mutex_);
    cancelled_ = true;
    inner = inner_;
  }
  if (inner != nullptr) inner->OnCancel();
}

void IncomingCall::OnDone() {
  grpc::internal::ServerReactor* inner = nullptr;
  {
    const MutexLock lock(&mutex_);
    inner = inner_;
  }
  if (inner != nullptr) inner->OnDone();
  delete this;
}

void CallService::Add(const std::string& path, IncomingCall::Handler handler, CallKind kind) {
  const Method& method = methods_.emplace_back(Method{path, std::move(handler), kind});
  AddMethod(new grpc::internal::RpcServiceMethod(
      method.path.c_str(), grpc::internal::RpcMethod::BIDI_STREAMING, nullptr));
  MarkMethodRawCallback(static_cast<int>(methods_.size()) - 1,
                        new grpc::internal::CallbackBidiHandler<grpc::ByteBuffer, grpc::ByteBuffer>(
                            [method = &method, gate = gate_](grpc::CallbackServerContext* context) {
                              return IncomingCall::Start(context, method->kind, &method->handler,
                                                         gate);
                            }));
}

void CallService::AddUnary(const std::string& path, UnaryMethod method) {
  Add(path, [method = std::move(method)](IncomingCall* call) {
    call->AnswerBy(method(call->context(), &call->request(), call->response()));
  });
}

void CallService::AddStream(const std::string& path, StreamMethod method) {
  Add(
      path,
      [method = std::move(method)](IncomingCall* call) {
        call->AnswerBy(method(call->context(), &call->request()));
      },
      CallKind::kStream);
}

}  // namespace vmeventd
