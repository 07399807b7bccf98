#ifndef VMEVENTD_SERVER_ACCESS_CLIENTS_H_
#define VMEVENTD_SERVER_ACCESS_CLIENTS_H_

#include <netinet/in.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/token_bucket.h"
#include "server/access/rate_limiter.h"
#include "server/access/refusals.h"

namespace vmeventd {

// WatchEvents calls stay open, and the hub bounds them as streams. A peer needs few others at once,
// and gRPC 1.51 keeps some 20 KB for each that is open.
enum class CallKind { kStream, kOther };

// How many calls may be open.
struct CallLimits {
  // What a call costs, and in addition one that its client resets or that is refused, of the bytes
  // that its connection may send: gRPC 1.51 takes calls up faster than it gets through them, at 20
  // KB each.
  int call_bytes = 400;
  int reset_bytes = 2'000;
  int refusal_bytes = 2'000;

  int calls = 5'000;  // of all methods together
  int calls_of_peer = 2'500;
  int other_calls = 1'000;  // of these, all but WatchEvents
  int other_calls_of_peer = 500;
  int unread_calls = 2'000;  // of any method, whose request has not arrived
  int unread_calls_of_peer = 1'000;
  // Calls that a client resets before they are answered. Where there are more the connection is
  // cut: gRPC 1.51 spends far more on each than the client.
  TokenRate resets = {100, 500};  // of one connection
  TokenRate resets_of_peer = {200, 2'000};
};

// The open connections and calls. A call gives the name of its connection, this gives the peer
// behind it. A peer is an IPv4 address, the /64 network of an IPv6 address, or a user of a Unix
// socket: who is counted as one wherever there is a limit for one. Any thread.
class Clients {
 public:
  static constexpr size_t kMaxPeers = 16'384;  // with a budget of resets of their own

  // The pointers outlive it.
  Clients(CallLimits limits, const Clock* clock, RefusalCounters* refusals);

  // `name` is that of ServerContext::peer() on this connection. `cut` closes it soon; it is called
  // on any thread, with a lock held, and not after Remove has returned.
  // To `charges` is added what its calls cost.
  void Add(const std::string& name, std::string peer, std::function<void()> cut,
           std::shared_ptr<std::atomic<int64_t>> charges = nullptr);
  void Remove(const std::string& name);

  // "a closed connection" where there is none of that name.
  std::string PeerOf(absl::string_view name) const;

  // One open call, for as long as this object lives.
  class Call {
   public:
    Call(Call&& other) noexcept
        : clients_(std::exchange(other.clients_, nullptr)),
          kind_(other.kind_),
          unread_(other.unread_),
          connection_(std::move(other.connection_)),
          peer_(std::move(other.peer_)) {}
    Call& operator=(Call&&) = delete;
    ~Call() {
      if (clients_ != nullptr) clients_->End(peer_, kind_, unread_);
    }
    // Its request has arrived. Not beside the destructor.
    void SetRead() {
      if (std::exchange(unread_, false)) clients_->SetRead(peer_);
    }
    // The client has reset it before it was answered.
    void CountReset() { clients_->CountReset(connection_, peer_); }

   private:
    friend class Clients;
    Call(Clients* clients, CallKind kind, std::string connection, std::string peer)
        : clients_(clients),
          kind_(kind),
          connection_(std::move(connection)),
          peer_(std::move(peer)) {}
    Clients* clients_;
    CallKind kind_;
    bool unread_ = true;
    std::string connection_;
    std::string peer_;
  };
  // Counts a call of the connection `name`. RESOURCE_EXHAUSTED, counted: there are too many;
  // UNAVAILABLE: the connection has ended, or Drain was called.
  absl::StatusOr<Call> Begin(const std::string& name, CallKind kind);

  // Whether this peer resets so many calls that it should not open another connection now.
  bool ResetsTooMany(const std::string& peer);

  // Refuses every call from now on.
  void Drain();
  // Until no call is open, or for `timeout`.
  void WaitUntilNoCalls(absl::Duration timeout);
  int open_calls() const;

 private:
  struct Connection {
    std::string peer;
    TokenBucket resets;
    std::function<void()> cut;
    std::shared_ptr<std::atomic<int64_t>> charges;  // may be null
    void Charge(int bytes) const {
      if (charges != nullptr) charges->fetch_add(bytes, std::memory_order_relaxed);
    }
  };
  struct OpenCalls {
    int all = 0;
    int others = 0;  // than WatchEvents
    int unread = 0;
    void Add(CallKind kind, int count) {
      all += count;
      if (kind == CallKind::kOther) others += count;
    }
  };
  // What one more call of this kind would exceed; empty: nothing.
  std::string FindExcess(const std::string& peer, CallKind kind, OpenCalls of_peer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void End(const std::string& peer, CallKind kind, bool unread);
  void SetRead(const std::string& peer);
  void CountReset(const std::string& name, const std::string& peer);

  const CallLimits limits_;
  const Clock* const clock_;
  RefusalCounters* const refusals_;
  RateLimiter peer_resets_;

  mutable Mutex mutex_;
  CondVar changed_;
  absl::flat_hash_map<std::string, Connection> connections_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, OpenCalls> calls_ ABSL_GUARDED_BY(mutex_);  // of each peer
  OpenCalls open_calls_ ABSL_GUARDED_BY(mutex_);
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

// The peer of the connected socket `fd`: "192.0.2.7", "2001:db8:1:2::/64", "user 1000". Empty: it
// is not connected any more.
std::string PeerOfSocket(int fd);
// That of a connection from `address`: its network, or the IPv4 address that it stands for.
std::string PeerOfIpv6(in6_addr address);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_ACCESS_CLIENTS_H_
