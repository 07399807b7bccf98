#pragma once

#include <netinet/in.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "server/access/certificate_names.h"
#include "server/access/refusals.h"

namespace vmeventd {

// WatchEvents calls stay open, and the hub bounds them as streams. A peer needs few others at once,
// and gRPC 1.51 keeps some 20 KB for each that is open. Health checks have a share of their own,
// and so have calls that were refused.
enum class CallKind { kStream, kOther, kHealth, kRefused };

// Limits of the open calls of one listener. If all are taken, a peer with fewer than `few_calls`
// gets one more, up to an eighth beyond the limit, so that two peers cannot lock out the others.
// Peers that HasReserve names have a reserve beyond that.
struct CallLimits {
  int calls = 5'000;  // all methods together, except health checks
  int calls_of_peer = 2'500;
  int other_calls = 1'000;  // those of methods other than WatchEvents
  int other_calls_of_peer = 500;
  int unread_calls = 2'000;  // those whose request has not arrived
  int unread_calls_of_peer = 1'000;
  int health_calls = 200;
  int health_calls_of_peer = 100;
  int few_calls = 8;
  int reserved_calls = 16;  // limit per kind
  // Limit of refused calls, and calls of unknown methods, that are not done: a client that does not
  // read leaves them with gRPC. Beyond it, the connection is cut.
  int refused_calls = 1'000;
  int refused_calls_of_peer = 500;
  int refused_calls_of_connection = 100;
  // Limit of unsent answers of calls that are no streams: a client may leave them unread.
  size_t answer_bytes = size_t{48} << 20;
  size_t answer_bytes_of_peer = size_t{16} << 20;
  // Largest answer that is always sent to a peer without unsent answers; to a peer with a reserve
  // any size is.
  size_t small_answer_bytes = 4'096;
};

// The open connections and calls. Maps the name of a call's connection to the peer behind it. A
// peer, the unit of every per-peer limit, is an IPv4 address, the /64 network of an IPv6 address,
// or a user of a Unix socket. Any thread.
class Clients {
 public:
  struct Caller {
    size_t listener = 0;  // index of the listener that accepted it
    std::string peer;
    std::vector<CertificateName> names;  // names in its verified certificate
  };

  // The pointer outlives it.
  Clients(CallLimits limits, RefusalCounters* refusals) : limits_(limits), refusals_(refusals) {}

  // `name` is that of ServerContext::peer() on this connection. `cut` closes it soon; it is called
  // on any thread, with a lock held, and not after Remove has returned.
  void Add(const std::string& name, Caller caller, std::function<void()> cut);
  void Remove(const std::string& name) {
    const MutexLock lock(&mutex_);
    connections_.erase(name);
  }

  // Returns "a closed connection" if there is none of that name.
  std::string PeerOf(absl::string_view name) const;
  std::vector<CertificateName> NamesOf(absl::string_view name) const;

  // Counts one call for as long as this object lives: as open, or as refused and not done.
  class Call {
   public:
    Call(Call&& other) noexcept
        : clients_(std::exchange(other.clients_, nullptr)),
          kind_(other.kind_),
          unread_(other.unread_),
          answer_bytes_(other.answer_bytes_),
          listener_(other.listener_),
          connection_(std::move(other.connection_)),
          peer_(std::move(other.peer_)) {}
    Call& operator=(Call&&) = delete;
    ~Call() {
      if (clients_ != nullptr) clients_->End(*this);
    }
    // Records that its request has arrived. Not concurrently with the destructor.
    void SetRead() {
      if (std::exchange(unread_, false)) clients_->SetRead(*this);
    }

    // Counts the `bytes` of its answer, or of its next one, as unsent until the call is done.
    // RESOURCE_EXHAUSTED, counted: too many are unsent already. A health check's are not counted.
    absl::Status HoldAnswer(size_t bytes) { return clients_->HoldAnswer(this, bytes); }

   private:
    friend class Clients;
    Call(Clients* clients, CallKind kind, const std::string& connection, const Caller& caller)
        : clients_(clients),
          kind_(kind),
          unread_(kind == CallKind::kStream || kind == CallKind::kOther),
          listener_(caller.listener),
          connection_(connection),
          peer_(caller.peer) {}
    Clients* clients_;
    CallKind kind_;
    bool unread_;
    size_t answer_bytes_ = 0;
    size_t listener_;
    std::string connection_;
    std::string peer_;
  };
  // Counts a call of the connection `name`. RESOURCE_EXHAUSTED, counted: there are too many;
  // UNAVAILABLE: the connection has ended, or Drain was called.
  absl::StatusOr<Call> Begin(const std::string& name, CallKind kind);

  // Counts a refused call of the connection `name`, and cuts the connection if there are too many.
  // nullopt: the connection has ended.
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
    Caller caller;
    std::function<void()> cut;  // null: it was called
    int refused = 0;
  };
  struct OpenCalls {
    int all = 0;     // all except health checks
    int others = 0;  // methods other than WatchEvents
    int unread = 0;
    int health = 0;
    int refused = 0;
    size_t answer_bytes = 0;
    void Add(CallKind kind, int count) {
      (kind == CallKind::kHealth ? health : kind == CallKind::kRefused ? refused : all) += count;
      if (kind == CallKind::kOther) others += count;
    }
    bool empty() const { return all == 0 && health == 0 && refused == 0; }
  };
  // Share of one listener.
  struct Share {
    OpenCalls all;
    absl::flat_hash_map<std::string, OpenCalls> peers;
  };
  // Names the limit that one more call of this kind would exceed; empty: none.
  std::string FindExcess(const std::string& peer, CallKind kind, const OpenCalls& all,
                         const OpenCalls& of_peer);
  void End(const Call& call);
  void SetRead(const Call& call);
  absl::Status HoldAnswer(Call* call, size_t bytes);
  int CountOpen() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const CallLimits limits_;
  RefusalCounters* const refusals_;

  mutable Mutex mutex_;
  CondVar changed_;
  absl::flat_hash_map<std::string, Connection> connections_ ABSL_GUARDED_BY(mutex_);
  std::vector<Share> shares_ ABSL_GUARDED_BY(mutex_);  // indexed by listener
  bool draining_ ABSL_GUARDED_BY(mutex_) = false;
};

// Returns whether the peer has reserved seats, which others cannot take: root and the daemon's own
// user on a Unix socket have them, because they administer the node and probe whether the daemon is
// alive.
bool HasReserve(absl::string_view peer);

// The peer of the connected socket `fd`: "192.0.2.7", "2001:db8:1:2::/64", "user 1000". Empty: it
// is not connected any more.
std::string PeerOfSocket(int fd);
// The peer of a connection from `address`: its network, or the IPv4 address that it stands for.
std::string PeerOfIpv6(in6_addr address);

}  // namespace vmeventd
