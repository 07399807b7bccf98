#ifndef VMEVENTD_SERVER_RPC_INCOMING_CALL_H_
#define VMEVENTD_SERVER_RPC_INCOMING_CALL_H_

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/impl/service_type.h"
#include "server/access/clients.h"
#include "server/access/refusals.h"

namespace vmeventd {

class IncomingCall;

// What all calls of all listeners have in common: who may open how many, and how long a request may
// take to arrive. Any thread.
class CallGate {
 public:
  static constexpr absl::Duration kRequestTime = absl::Seconds(10);

  // All outlive the gate, and the gate every call.
  CallGate(Clients* clients, const Clock* clock, RefusalCounters* refusals)
      : clients_(clients), clock_(clock), refusals_(refusals) {}

  // Ends the calls whose request has not come in kRequestTime. To be called about every second.
  void EndOverdue();
  // Refuses every call from now on with UNAVAILABLE, and ends those whose request has not come.
  void Drain();

 private:
  friend class IncomingCall;
  struct Waiting {
    IncomingCall* call;
    absl::Duration until;  // monotonic
  };
  using Place = std::list<Waiting>::iterator;

  Place Add(IncomingCall* call);
  void Remove(Place place);
  // Ends the calls that may wait until `time` or less; returns how many.
  int EndUntil(absl::Duration time, const grpc::Status& status);

  Clients* const clients_;
  const Clock* const clock_;
  RefusalCounters* const refusals_;
  Mutex mutex_;
  std::list<Waiting> waiting_ ABSL_GUARDED_BY(mutex_);  // for their request, oldest first
};

// One call, from its headers on. gRPC 1.51 shows a unary call to its method only when the request
// is complete, keeps it for as long as it is not, and counts it nowhere. So every method here is
// one that streams both ways, which is the same on the wire: the call is counted at its headers,
// and its request is read within kRequestTime or not at all. Owns itself.
class IncomingCall : public grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  // Gets a call whose request is complete, on gRPC's thread. Calls one of the methods below once.
  using Handler = std::function<void(IncomingCall*)>;

  // Begins to read the request, or refuses the call. `handler` and `gate` outlive the call.
  static IncomingCall* Start(grpc::CallbackServerContext* context, CallKind kind,
                             const Handler* handler, CallGate* gate);

  grpc::CallbackServerContext* context() const { return context_; }
  const grpc::ByteBuffer& request() const { return request_; }

  // Lets a method that is written for gRPC's own unary or streaming kind answer: `reactor` is what
  // it has returned. Its response is `response()`.
  void AnswerBy(grpc::ServerUnaryReactor* reactor);
  void AnswerBy(grpc::ServerWriteReactor<grpc::ByteBuffer>* reactor);
  grpc::ByteBuffer* response() { return &response_; }

  // Sends `response` and ends the call; or, without one, ends it.
  void Answer(const grpc::ByteBuffer& response);
  void Refuse(const grpc::Status& status);
  // Sends `response` and hands the next request to the same handler. Where no more come the call
  // ends with OK.
  void AnswerAndReadNext(const grpc::ByteBuffer& response);

 private:
  friend class CallGate;
  class Unary;
  class Writer;

  IncomingCall(grpc::CallbackServerContext* context, const Handler* handler, CallGate* gate);
  ~IncomingCall() override;

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  void ReadRequest();
  // True, once: the caller is to end a call that still waits for its request.
  bool TakeWhileReading();
  // From now on `reactor` gets the call's reactions. Within OnReadDone.
  void SetInner(grpc::internal::ServerReactor* reactor);
  // Once a call.
  void CountReset();
  // Before the call is ended, whichever way.
  void MarkEnded();

  grpc::CallbackServerContext* const context_;
  const Handler* const handler_;
  CallGate* const gate_;
  std::optional<Clients::Call> counted_;  // while it is open
  grpc::ByteBuffer request_;
  grpc::ByteBuffer response_;
  CallGate::Place place_;  // while it reads
  std::atomic<bool> reset_counted_ = false;
  bool answered_ = false;    // a request has been
  bool reads_next_ = false;  // after the write
  std::unique_ptr<Unary> unary_;
  std::unique_ptr<Writer> writer_;
  grpc::ServerWriteReactor<grpc::ByteBuffer>* stream_ = nullptr;

  Mutex mutex_;
  bool reading_ ABSL_GUARDED_BY(mutex_) = false;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::internal::ServerReactor* inner_ ABSL_GUARDED_BY(mutex_) = nullptr;
};

// A service whose methods are IncomingCalls. The paths are as "/package.Service/Method".
class CallService : public grpc::Service {
 public:
  // `gate` outlives the service.
  explicit CallService(CallGate* gate) : gate_(gate) {}

  void Add(const std::string& path, IncomingCall::Handler handler,
           CallKind kind = CallKind::kOther);

  // As gRPC's raw callback methods of these two kinds.
  using UnaryMethod = std::function<grpc::ServerUnaryReactor*(
      grpc::CallbackServerContext*, const grpc::ByteBuffer*, grpc::ByteBuffer*)>;
  using StreamMethod = std::function<grpc::ServerWriteReactor<grpc::ByteBuffer>*(
      grpc::CallbackServerContext*, const grpc::ByteBuffer*)>;
  void AddUnary(const std::string& path, UnaryMethod method);
  void AddStream(const std::string& path, StreamMethod method);  // counts as CallKind::kStream

 private:
  struct Method {
    std::string path;
    IncomingCall::Handler handler;
    CallKind kind;
  };
  CallGate* const gate_;
  std::list<Method> methods_;  // gRPC keeps pointers to the paths
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_RPC_INCOMING_CALL_H_
