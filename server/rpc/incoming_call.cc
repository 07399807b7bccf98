#include "server/rpc/incoming_call.h"

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/error_reason.h"
#include "base/text.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"
#include "google/rpc/status.pb.h"
#include "grpc/grpc.h"
#include "grpcpp/impl/codegen/server_callback_handlers.h"
#include "grpcpp/impl/rpc_service_method.h"
#include "grpcpp/support/proto_buffer_reader.h"

namespace vmeventd {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

constexpr int kMaxDepth = 10;  // no request is nested this deep

// A text field that is not UTF-8.
struct BadText {
  std::string field;  // for example "filter.vm_names[2]"
  std::string value;
};

// The first text field of an encoded message that is not UTF-8; unset: there is none, or the
// encoding is malformed before it.
std::optional<BadText> FindBadText(const std::string& bytes, const Descriptor& type,
                                   const std::string& prefix, int depth) {
  CodedInputStream in(reinterpret_cast<const uint8_t*>(bytes.data()),
                      static_cast<int>(bytes.size()));
  std::map<int, int> counts;  // entries of each repeated field so far
  while (const uint32_t tag = in.ReadTag()) {
    const FieldDescriptor* const field =
        type.FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
    const bool is_text = field != nullptr && field->type() == FieldDescriptor::TYPE_STRING;
    const bool is_message = field != nullptr && field->type() == FieldDescriptor::TYPE_MESSAGE;
    if ((!is_text && !is_message) ||
        WireFormatLite::GetTagWireType(tag) != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
      if (!WireFormatLite::SkipField(&in, tag)) return std::nullopt;
      continue;
    }
    uint32_t size = 0;
    std::string value;
    if (!in.ReadVarint32(&size) || !in.ReadString(&value, static_cast<int>(size))) {
      return std::nullopt;
    }
    std::string name = absl::StrCat(prefix, field->name());
    if (field->is_repeated()) absl::StrAppend(&name, "[", counts[field->number()]++, "]");
    if (is_text && !IsValidUtf8(value)) return BadText{std::move(name), std::move(value)};
    if (is_message && depth < kMaxDepth) {
      std::optional<BadText> bad =
          FindBadText(value, *field->message_type(), absl::StrCat(name, "."), depth + 1);
      if (bad.has_value()) return bad;
    }
  }
  return std::nullopt;
}

std::string ToString(const grpc::ByteBuffer& bytes) {
  std::vector<grpc::Slice> slices;
  std::string out;
  if (!bytes.Dump(&slices).ok()) return out;
  for (const grpc::Slice& slice : slices) {
    out.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return out;
}

// The codes have the same numbers.
grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const std::string message(status.message());
  google::rpc::Status details;
  if (const auto reason = status.GetPayload(kReasonPayload); reason.has_value()) {
    google::rpc::ErrorInfo info;
    info.set_domain("vmeventd");
    info.set_reason(std::string(*reason));
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

absl::Status ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::Message* message) {
  // Check first: protobuf refuses such a text as well, but names neither field nor value.
  const std::optional<BadText> bad = FindBadText(ToString(bytes), *message->GetDescriptor(), "", 0);
  if (bad.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(bad->field, ": ", Quote(bad->value), " is not UTF-8"));
  }
  grpc::ByteBuffer copy = bytes;  // shares the memory; the reader takes ownership
  grpc::ProtoBufferReader reader(&copy);
  if (reader.status().ok() && message->ParseFromZeroCopyStream(&reader)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the request is not a valid ", message->GetTypeName(), ": malformed"));
}

CallGate::Place CallGate::Add(IncomingCall* call) {
  const absl::Duration until = clock_->Now().monotonic + kRequestTime;
  const MutexLock lock(&mutex_);
  return waiting_.insert(waiting_.end(), {call, until});
}

int CallGate::EndUntil(absl::Duration time, const absl::Status& status) {
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
  for (IncomingCall* const call : taken) call->End(status);
  return static_cast<int>(taken.size());
}

void CallGate::EndOverdue() {
  const int ended =
      EndUntil(clock_->Now().monotonic,
               absl::DeadlineExceededError(absl::StrCat("the request was not complete within ",
                                                        absl::FormatDuration(kRequestTime))));
  for (int i = 0; i < ended; ++i) refusals_->Count(Refusal::kRequestTime);
}

void CallGate::Drain() {
  clients_->Drain();
  EndUntil(absl::InfiniteDuration(), ShuttingDown());
}

IncomingCall* IncomingCall::Start(grpc::CallbackServerContext* context, CallKind kind,
                                  const Handler* handler, CallGate* gate) {
  auto* const call = new IncomingCall(context, handler, gate);  // OnDone deletes it
  absl::StatusOr<Clients::Call> counted = gate->clients_->Begin(context->peer(), kind);
  if (counted.ok()) {
    call->counted_.emplace(*std::move(counted));
    call->ReadRequest();
  } else {
    call->Reject(counted.status());
  }
  return call;
}

IncomingCall* IncomingCall::StartUnknown(grpc::CallbackServerContext* context, CallGate* gate) {
  auto* const call = new IncomingCall(context, nullptr, gate);  // OnDone deletes it
  call->Reject(absl::UnimplementedError("there is no such method"));
  return call;
}

void IncomingCall::Reject(const absl::Status& status) {
  if (std::optional<Clients::Call> counted = gate_->clients_->BeginRefused(context_->peer())) {
    counted_.emplace(*std::move(counted));
  }
  End(status);
}

IncomingCall::IncomingCall(grpc::CallbackServerContext* context, const Handler* handler,
                           CallGate* gate)
    : context_(context), handler_(handler), gate_(gate) {}

IncomingCall::~IncomingCall() = default;

void IncomingCall::ReadRequest() {
  {
    const MutexLock lock(&mutex_);
    reading_ = true;
  }
  place_ = gate_->Add(this);
  StartRead(&request_);
}

void IncomingCall::OnReadDone(bool ok) {
  gate_->Remove(place_);
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

void IncomingCall::Answer(const absl::StatusOr<std::string>& response) {
  const absl::Status status = response.ok() ? SetResponse(*response) : response.status();
  if (!status.ok()) return End(status);
  StartWriteAndFinish(&response_, grpc::WriteOptions(), grpc::Status::OK);
}

void IncomingCall::AnswerAndReadNext(const absl::StatusOr<std::string>& response) {
  const absl::Status status = response.ok() ? SetResponse(*response) : response.status();
  if (!status.ok()) return End(status);
  answered_ = true;
  reads_next_ = true;
  StartWrite(&response_);
}

void IncomingCall::AnswerBy(CallStream* stream) {
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
  if (CallStream* const answering = stream()) {
    answering->OnWriteDone(ok);
  } else if (std::exchange(reads_next_, false)) {
    ReadRequest();
  }
}

void IncomingCall::OnCancel() {
  CallStream* answering = nullptr;
  {
    const MutexLock lock(&mutex_);
    cancelled_ = true;
    answering = stream_;
  }
  if (answering != nullptr) answering->OnCancel();
}

void IncomingCall::OnDone() {
  if (CallStream* const answering = stream()) answering->OnDone();
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

}  // namespace vmeventd
