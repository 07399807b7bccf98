#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "base/clock.h"
#include "server/access/clients.h"
#include "server/access/rate_limiter.h"
#include "server/access/refusals.h"
#include "server/config/listen_address.h"

namespace vmeventd {

// Rights of the callers. Any thread.
//
// Every caller on a Unix socket without role=reader is an operator, because the socket's mode
// admitted it; a TLS caller is one if its certificate has one of `operators` among its names;
// everybody else is a reader.
class AccessPolicy {
 public:
  // `addresses` are those of the listeners; a peer may list `list_rate` times a second. The
  // pointers outlive the policy.
  AccessPolicy(std::vector<ListenAddress> addresses, const std::vector<std::string>& operators,
               double list_rate, const Clock* clock, RefusalCounters* refusals);

  // PERMISSION_DENIED, counted, for a reader; the message names who is permitted, and how to become
  // an operator.
  absl::Status CheckOperator(const CallPeer& caller) const;
  // RESOURCE_EXHAUSTED, counted, if this peer has requested lists too often.
  absl::Status CheckRate(const CallPeer& caller);

 private:
  const std::vector<ListenAddress> addresses_;
  std::set<std::string> operators_;  // see OperatorName
  RateLimiter list_rate_;
  const Clock* const clock_;
  RefusalCounters* const refusals_;
};

}  // namespace vmeventd
