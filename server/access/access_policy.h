#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "grpcpp/grpcpp.h"
#include "server/access/clients.h"
#include "server/access/refusals.h"
#include "server/config/listen_address.h"

namespace vmeventd {

// A token bucket for each key: `per_second` in the long run, `burst` at once. Keeps at most
// `max_keys` buckets; those beyond share one, so that many keys are no way around the limit. Any
// thread.
class RateLimiter {
 public:
  RateLimiter(double per_second, double burst, size_t max_keys)
      : rate_{per_second, burst}, max_keys_(max_keys) {}

  // Returns zero and counts the event if it may happen now, else the time until it may. `now` is
  // monotonic.
  absl::Duration Take(const std::string& key, absl::Duration now);

 private:
  const TokenRate rate_;
  const size_t max_keys_;
  Mutex mutex_;
  absl::flat_hash_map<std::string, TokenBucket> buckets_ ABSL_GUARDED_BY(mutex_);
};

// Kind of name that a --tls-operator is, by its form: an IP address, "scheme:…" a URI, "…@…" an
// email address, everything else a DNS name.
NameKind KindOfOperator(absl::string_view name);

// Returns whether a certificate's name of `kind` is this --tls-operator. The kinds must be the
// same, so that an authority that gives out names of one kind freely makes no operator of another.
// DNS names and domains of email addresses are the same in any case, IP addresses in any notation.
bool IsOperatorName(absl::string_view name_of_operator, NameKind kind, absl::string_view name);

// Identity and rights of one listener's callers. Any thread.
//
// The listener's role applies if it has one. Else every caller on a Unix socket is an operator,
// because the socket's mode admitted it; a TLS caller is one if its certificate has one of
// `operators` among its subject alternative names; everybody else is a reader.
class AccessPolicy {
 public:
  // The pointers outlive the policy.
  AccessPolicy(ListenAddress address, std::vector<std::string> operators, const Clients* clients,
               RateLimiter* list_rate, const Clock* clock, RefusalCounters* refusals);

  // PERMISSION_DENIED, counted, for a reader; the message names who may and how to become one.
  absl::Status CheckOperator(const grpc::CallbackServerContext& context) const;
  // RESOURCE_EXHAUSTED, counted, if this peer has called ListEvents and ListVms too often.
  absl::Status CheckRate(const grpc::CallbackServerContext& context) const;
  // Returns the name under which the caller is counted: see Clients.
  std::string Peer(const grpc::CallbackServerContext& context) const {
    return clients_->PeerOf(context.peer());
  }
  CallPeer Identify(const grpc::CallbackServerContext& context) const {
    return {Peer(context), CertificateNameTexts(clients_->NamesOf(context.peer()))};
  }

 private:
  bool IsOperator(const grpc::CallbackServerContext& context) const;

  const ListenAddress address_;
  const std::vector<std::string> operators_;
  const Clients* const clients_;
  RateLimiter* const list_rate_;
  const Clock* const clock_;
  RefusalCounters* const refusals_;
};

}  // namespace vmeventd
