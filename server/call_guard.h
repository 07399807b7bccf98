#ifndef VMEVENTD_SERVER_CALL_GUARD_H_
#define VMEVENTD_SERVER_CALL_GUARD_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "grpcpp/grpcpp.h"
#include "server/listen_address.h"
#include "server/rate_limiter.h"
#include "server/refusals.h"
#include "watcher/io/clock.h"

namespace vmeventd {

// Who calls on one listener, and whether they may. Any thread.
//
// The role is the listener's, where it has one. Else: on a Unix socket every caller is an operator,
// for the socket's mode chose them; over TLS an operator is whose certificate has one of
// `operators` among its subject alternative names; everybody else is a reader.
class CallGuard {
 public:
  // The pointers outlive the guard.
  CallGuard(ListenAddress address, std::vector<std::string> operators, RateLimiter* list_rate,
            const Clock* clock, RefusalCounters* refusals);

  // PERMISSION_DENIED, counted, for a reader; the message says who may and how to become one.
  absl::Status CheckOperator(const grpc::CallbackServerContext& context) const;
  // RESOURCE_EXHAUSTED, counted, where this peer has called ListEvents too often.
  absl::Status CheckListRate(const grpc::CallbackServerContext& context) const;
  // Who is counted as one: the IP address, or the whole Unix socket, for gRPC does not tell who
  // calls there.
  std::string Peer(const grpc::CallbackServerContext& context) const;

 private:
  bool IsOperator(const grpc::CallbackServerContext& context) const;

  const ListenAddress address_;
  const std::vector<std::string> operators_;
  RateLimiter* const list_rate_;
  const Clock* const clock_;
  RefusalCounters* const refusals_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_CALL_GUARD_H_
