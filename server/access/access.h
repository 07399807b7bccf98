#pragma once

#include <netinet/in.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/counter.h"
#include "base/mutex.h"
#include "base/openssl_ptr.h"
#include "base/token_bucket.h"
#include "server/config/listen_address.h"

namespace vmeventd {

// Reason why a connection or a call was turned away.
enum class Refusal {
  kConnections,         // limit of one listener
  kConnectionsPerPeer,  // limit of one peer on it
  kDescriptors,         // no descriptor left in the process or the system
  kStreams,             // limit of open WatchEvents calls
  kStreamsPerPeer,      // limit of open WatchEvents calls of one peer
  kListRate,            // ListEvents or ListVms called too often
  kRequestSize,         // a request of too many bytes
  kRole,                // a reader called a method for operators
  kInboundRate,   // a connection sent too much, or made or reset too many calls, and has to wait
  kCalls,         // limit of open calls other than WatchEvents
  kCallsPerPeer,  // limit of other open calls of one peer
  kRequestTime,   // a request that was not complete in time
  kScrapes,       // a connection to the metrics was closed to make room
  kFrames,        // a connection was closed: it broke a rule for HTTP/2 frames
  // A connection was closed, or a call refused: its client does not read the data that waits for
  // it.
  kUnread,
  // A connection was closed before it was served: it took too long, or had to make room for others.
  kHandshakes,
  kTls,  // a TLS handshake failed
};
inline constexpr const char* kRefusalNames[] = {"connections",
                                                "connections_per_peer",
                                                "descriptors",
                                                "streams",
                                                "streams_per_peer",
                                                "list_rate",
                                                "request_size",
                                                "role",
                                                "inbound_rate",
                                                "calls",
                                                "calls_per_peer",
                                                "request_time",
                                                "scrapes",
                                                "frames",
                                                "unread",
                                                "handshakes",
                                                "tls"};

// Counts of each reason since the start. Any thread.
class RefusalCounters {
 public:
  void Count(Refusal reason) { counts_[static_cast<size_t>(reason)].Add(); }
  uint64_t value(Refusal reason) const { return counts_[static_cast<size_t>(reason)].value(); }

 private:
  std::array<Counter, std::size(kRefusalNames)> counts_;
};

// Returns the names in the certificate that identify its owner: DNS names in lower case, and URIs,
// without control characters, as "DNS mover.example", "URI spiffe://site/mover". The caller has
// verified the certificate. Null `certificate`: no names.
std::vector<std::string> CertificateNamesOf(X509* certificate);
// Returns the name of a --tls-operator in the same form: a URI has a colon, a DNS name has none. So
// an authority that hands out names of one kind freely cannot create an operator of the other kind.
std::string OperatorName(absl::string_view name);

// Kinds of calls, each with a limit. A peer needs few calls of kOther at once, and gRPC 1.51 stores
// some 20 KB for each.
enum class CallKind { kStream, kOther, kRefused };

// Limits of one listener. A refused call, and one of an unknown method, counts only for its peer,
// until it is done, because a client may not read its end. If the peer then has more than twice its
// limit of other calls, the connection is cut.
struct CallLimits {
  int streams = 2'000;  // WatchEvents
  int streams_of_peer = 1'000;
  int other_calls = 1'000;  // of all other methods
  int other_calls_of_peer = 500;
  // Limit of the memory that calls hold until they are done: answers that a client has not read,
  // and filters of streams.
  size_t held_bytes = size_t{48} << 20;
  size_t held_bytes_of_peer = size_t{16} << 20;
};

// The caller behind a connection.
struct CallPeer {
  std::string peer;                                 // see Clients
  std::vector<std::string> certificate_names = {};  // see CertificateNamesOf
  size_t listener = 0;                              // index of the listener that accepted it
};

// The open connections and calls. Maps the name of a call's connection to the peer behind it. A
// peer, the unit of every per-peer limit, is an IPv4 address, the /64 network of an IPv6 address,
// or a user of a Unix socket. Any thread.
class Clients {
 public:
  // The pointer outlives it.
  Clients(CallLimits limits, RefusalCounters* refusals) : limits_(limits), refusals_(refusals) {}

  // `name` is what ServerContext::peer() returns on this connection. `cut` closes the connection
  // soon; it is called on any thread, with a lock held, and not after Remove has returned.
  void Add(const std::string& name, CallPeer caller, std::function<void()> cut);
  void Remove(const std::string& name) {
    const MutexLock lock(&mutex_);
    connections_.erase(name);
  }

  // Counts one call, open or refused, for as long as this object lives.
  class Call {
   public:
    Call(Call&& other) noexcept
        : clients_(std::exchange(other.clients_, nullptr)),
          kind_(other.kind_),
          held_bytes_(other.held_bytes_),
          caller_(std::move(other.caller_)) {}
    Call& operator=(Call&&) = delete;
    ~Call() {
      if (clients_ != nullptr) clients_->End(*this);
    }
    // Sets the number of bytes that the call holds. RESOURCE_EXHAUSTED, counted: too many are held
    // already.
    absl::Status Hold(size_t bytes) { return clients_->Hold(this, bytes); }
    const CallPeer& caller() const { return *caller_; }

   private:
    friend class Clients;
    Call(Clients* clients, CallKind kind, std::shared_ptr<const CallPeer> caller)
        : clients_(clients), kind_(kind), caller_(std::move(caller)) {}
    Clients* clients_;
    CallKind kind_;
    size_t held_bytes_ = 0;
    std::shared_ptr<const CallPeer> caller_;
  };
  // Counts a call of the connection `name`. RESOURCE_EXHAUSTED, counted: there are too many;
  // UNAVAILABLE: the connection has ended, or Drain was called.
  absl::StatusOr<Call> Begin(const std::string& name, CallKind kind);

  // Counts a refused call of the connection `name`, and cuts the connection if its peer has too
  // many calls. nullopt: the connection has ended.
  std::optional<Call> BeginRefused(const std::string& name);

  // Refuses every call from now on.
  void Drain() {
    const MutexLock lock(&mutex_);
    draining_ = true;
  }
  // Waits until no call is open, or for `timeout`.
  void WaitUntilNoCalls(absl::Duration timeout) {
    const MutexLock lock(&mutex_);
    WaitUntil(&changed_, &mutex_, timeout,
              [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return CountOpen() == 0; });
  }
  int open_calls() const {
    const MutexLock lock(&mutex_);
    return CountOpen();
  }

 private:
  struct Connection {
    std::shared_ptr<const CallPeer> caller;
    std::function<void()> cut;  // null: it was called
  };
  struct OpenCalls {
    int streams = 0;
    int others = 0;
    int refused = 0;
    size_t held_bytes = 0;
    int& of(CallKind kind) {
      return kind == CallKind::kStream ? streams : kind == CallKind::kOther ? others : refused;
    }
    int open() const { return streams + others; }
  };
  // The calls of one listener.
  struct Share {
    OpenCalls all;
    absl::flat_hash_map<std::string, OpenCalls> peers;
  };
  // RESOURCE_EXHAUSTED names the limit that one more call of this kind would exceed.
  absl::Status CheckExcess(const std::string& peer, CallKind kind, OpenCalls all,
                           OpenCalls of_peer);
  Call Count(CallKind kind, const Connection& connection) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(const Call& call);
  absl::Status Hold(Call* call, size_t bytes);
  int CountOpen() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const CallLimits limits_;
  RefusalCounters* const refusals_;

  mutable Mutex mutex_;
  CondVar changed_;
  absl::flat_hash_map<std::string, Connection> connections_ ABSL_GUARDED_BY(mutex_);
  std::vector<Share> shares_ ABSL_GUARDED_BY(mutex_);  // indexed by listener
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

// The peer of the connected socket `fd`: "192.0.2.7", "2001:db8:1:2::/64", "user 1000". Empty: it
// is no longer connected.
std::string PeerOfSocket(int fd);
// The peer of a connection from `address`: its network, or the IPv4 address that it stands for.
std::string PeerOfIpv6(in6_addr address);

// A token bucket for each key: `per_second` in the long run, `burst` at once. Stores at most
// `max_keys` buckets; further keys share one, so that many keys do not evade the limit. Any thread.
class RateLimiter {
 public:
  RateLimiter(double per_second, double burst, size_t max_keys)
      : rate_{per_second, burst}, max_keys_(max_keys) {}

  // Returns zero and counts the event if it is permitted now; else the time until it is. `now` is
  // monotonic.
  absl::Duration Take(const std::string& key, absl::Duration now);

 private:
  const TokenRate rate_;
  const size_t max_keys_;
  Mutex mutex_;
  absl::flat_hash_map<std::string, TokenBucket> buckets_ ABSL_GUARDED_BY(mutex_);
};

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
