#include "server/rpc/incoming_call.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "base/error_reason.h"
#include "google/rpc/status.pb.h"
#include "grpc/grpc.h"

namespace vmeventd {
namespace {

// The codes have the same numbers.
grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message(status.message());
  google::rpc::Status details;
  if (const auto reason = status.GetPayload(kReasonPayload); reason.has_value()) {
    google::rpc::ErrorInfo info;
    info.set_domain("vmeventd");
    info.set_reason(std::string(*reason));
    status.ForEachPayload([&info](absl::string_view key, const absl::Cord& value) {
      if (absl::ConsumePrefix(&key, kFactPrefix)) {
        (*info.mutable_metadata())[std::string(key)] = std::string(value);
      }
    });
    details.add_details()->PackFrom(info);
  }
  if (const auto retry = status.GetPayload(kRetryPayload); retry.has_value()) {
    int64_t ns = 0;
    if (absl::SimpleAtoi(std::string(*retry), &ns)) {
      google::rpc::RetryInfo info;
      info.mutable_retry_delay()->set_seconds(ns / 1'000'000'000);
      info.mutable_retry_delay()->set_nanos(static_cast<int32_t>(ns % 1'000'000'000));
      details.add_details()->PackFrom(info);
    }
  }
  const auto code = static_cast<grpc::StatusCode>(status.code());
  if (details.details().empty()) return {code, message};
  details.set_code(static_cast<int>(status.code()));
  details.set_message(message);
  return {code, message, details.SerializeAsString()};
}

}  // namespace

IncomingCall* IncomingCall::Start(grpc::CallbackServerContext* context, CallKind kind,
                                  const Handler* handler, CallGate* gate) {
  auto* const call = new IncomingCall(context, handler, gate);  // OnDone deletes it
  absl::StatusOr<Clients::Call> counted =
      handler == nullptr
          ? absl::StatusOr<Clients::Call>(absl::UnimplementedError("there is no such method"))
          : gate->clients_->Begin(context->peer(), kind);
  if (counted.ok()) {
    call->counted_.emplace(*std::move(counted));
    call->ReadRequest();
  } else {
    call->Reject(counted.status());
  }
  return call;
}

void IncomingCall::Reject(const absl::Status& status) {
  if (std::optional<Clients::Call> counted = gate_->clients_->BeginRefused(context_->peer())) {
    counted_.emplace(*std::move(counted));
  }
  End(status);
}

void IncomingCall::ReadRequest() {
  {
    const MutexLock lock(&mutex_);
    reading_ = true;
  }
  position_ = gate_->Add(this);
  StartRead(&request_);
}

void IncomingCall::OnReadDone(bool ok) {
  gate_->Remove(position_);
  if (!TakeWhileReading()) return;  // it took too long and was ended
  if (ok) {
    (*handler_)(this);
  } else {
    End(answered_ ? absl::OkStatus() : absl::InvalidArgumentError("the call has no request"));
  }
}

absl::Status IncomingCall::SetResponse(const std::string& response) {
  if (absl::Status held = Hold(response.size()); !held.ok()) return held;
  const grpc::Slice slice(response);
  response_ = grpc::ByteBuffer(&slice, 1);
  return absl::OkStatus();
}

void IncomingCall::Answer(const absl::StatusOr<std::string>& response, bool reads_next) {
  const absl::Status status = response.ok() ? SetResponse(*response) : response.status();
  if (!status.ok()) return End(status);
  if (!reads_next) return StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
  answered_ = true;
  reads_next_ = true;
  StartWrite(&response_);
}

void IncomingCall::AnswerBy(WatchStream* stream) {
  request_.Clear();  // a stream may stay open for months
  bool cancelled = false;
  {
    const MutexLock lock(&mutex_);
    stream_ = stream;
    cancelled = cancelled_;
  }
  if (cancelled) stream->OnCancel();
}

void IncomingCall::End(const absl::Status& status) { Finish(ToGrpc(status)); }

void IncomingCall::Abort(const absl::Status& status) {
  // Cancels the call like TryCancel, but with the reason.
  const grpc_call_error error =
      grpc_call_cancel_with_status(context_->c_call(), static_cast<grpc_status_code>(status.code()),
                                   std::string(status.message()).c_str(), nullptr);
  static_cast<void>(error);  // fails only where the call has ended already, which is what we want
}

void IncomingCall::OnWriteDone(bool ok) {
  if (WatchStream* const answering = stream()) {
    answering->OnWriteDone(ok);
  } else if (std::exchange(reads_next_, false)) {
    ReadRequest();
  }
}

void IncomingCall::OnCancel() {
  WatchStream* answering = nullptr;
  {
    const MutexLock lock(&mutex_);
    cancelled_ = true;
    answering = stream_;
  }
  if (answering != nullptr) answering->OnCancel();
}

void IncomingCall::OnDone() {
  if (WatchStream* const answering = stream()) answering->OnDone();
  delete this;
}

}  // namespace vmeventd
