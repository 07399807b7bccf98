#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/support/byte_buffer.h"
#include "server/access/clients.h"
#include "server/rpc/call_gate.h"
#include "server/stream/watch_stream.h"

namespace vmeventd {

// One call, from its headers on. gRPC 1.51 shows a unary call to its method only once the request
// is complete, holds an incomplete call forever, and does not count it. So every method here
// streams in both directions, which looks the same on the wire: the call is counted when its
// headers arrive, and its request must arrive within kRequestTime. Deletes itself.
class IncomingCall : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>,
                     public StreamCall {
 public:
  // Receives a call whose request is complete, on a gRPC thread. Must answer it by one of the
  // methods below, now or later.
  using Handler = std::function<void(IncomingCall*)>;

  // Starts to read the request, or refuses the call. `handler` and `gate` must outlive the call. No
  // handler: there is no such method.
  static IncomingCall* Start(grpc::CallbackServerContext* context, CallKind kind,
                             const Handler* handler, CallGate* gate);

  // The caller and the request, for the handler.
  const CallPeer& caller() const { return counted_->caller(); }
  const grpc::ByteBuffer& request() const { return request_; }

  bool cancelled() {
    const MutexLock lock(&mutex_);
    return cancelled_;
  }

  // Sends the encoded response and ends the call, or ends it with the error. With `reads_next` it
  // does not end yet, and the next request goes to the same handler: the call ends with OK when no
  // more requests come.
  void Answer(const absl::StatusOr<std::string>& response, bool reads_next = false);
  void AnswerBy(WatchStream* stream) override;
  absl::Status Hold(size_t bytes) override { return counted_->Hold(bytes); }
  void Write(const grpc::ByteBuffer* message) override { StartWrite(message); }
  void End(const absl::Status& status) override;
  void Abort(const absl::Status& status) override;

 private:
  friend class CallGate;

  IncomingCall(grpc::CallbackServerContext* context, const Handler* handler, CallGate* gate)
      : context_(context), handler_(handler), gate_(gate) {}
  ~IncomingCall() override = default;

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // Ends the call, and counts it as refused until it is done.
  void Reject(const absl::Status& status);
  // Sets the response to send. RESOURCE_EXHAUSTED: too many bytes wait already.
  absl::Status SetResponse(const std::string& response);
  void ReadRequest();
  // Returns true once, while the call waits for its request: the caller must end it.
  bool TakeWhileReading() {
    const MutexLock lock(&mutex_);
    return std::exchange(reading_, false);
  }
  WatchStream* stream() {
    const MutexLock lock(&mutex_);
    return stream_;
  }

  grpc::CallbackServerContext* const context_;
  const Handler* const handler_;
  CallGate* const gate_;
  std::optional<Clients::Call> counted_;  // open or refused, once Clients has been asked
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  CallGate::Position position_;  // set while it reads
  bool answered_ = false;        // at least one request was answered
  bool reads_next_ = false;      // reads another request after the write

  Mutex mutex_;
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  WatchStream* stream_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

}  // namespace vmeventd
