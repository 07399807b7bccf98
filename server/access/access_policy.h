#ifndef VMEVENTD_SERVER_ACCESS_ACCESS_POLICY_H_
#define VMEVENTD_SERVER_ACCESS_ACCESS_POLICY_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "grpcpp/grpcpp.h"
#include "server/access/clients.h"
#include "server/access/rate_limiter.h"
#include "server/access/refusals.h"
#include "server/config/listen_address.h"

namespace vmeventd {

// Who calls on one listener, and whether they may. Any thread.
//
// The role is the listener's, where it has one. Else: on a Unix socket every caller is an operator,
// for the socket's mode chose them; over TLS an operator is whose certificate has one of
// `operators` among its subject alternative names; everybody else is a reader.
class AccessPolicy {
 public:
  // The pointers outlive the policy.
  AccessPolicy(ListenAddress address, std::vector<std::string> operators, const Clients* clients,
               RateLimiter* list_rate, RateLimiter* vms_rate, const Clock* clock,
               RefusalCounters* refusals);

  // PERMISSION_DENIED, counted, for a reader; the message says who may and how to become one.
  absl::Status CheckOperator(const grpc::CallbackServerContext& context) const;
  // RESOURCE_EXHAUSTED, counted, where this peer has called ListEvents, or ListVms, too often.
  absl::Status CheckListRate(const grpc::CallbackServerContext& context) const;
  absl::Status CheckVmsRate(const grpc::CallbackServerContext& context) const;
  // Who is counted as one: see Clients.
  std::string Peer(const grpc::CallbackServerContext& context) const;

 private:
  bool IsOperator(const grpc::CallbackServerContext& context) const;

  const ListenAddress address_;
  const std::vector<std::string> operators_;
  const Clients* const clients_;
  absl::Status CheckRate(const grpc::CallbackServerContext& context, RateLimiter* rate,
                         Refusal reason, absl::string_view method) const;

  RateLimiter* const list_rate_;
  RateLimiter* const vms_rate_;
  const Clock* const clock_;
  RefusalCounters* const refusals_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_ACCESS_ACCESS_POLICY_H_
