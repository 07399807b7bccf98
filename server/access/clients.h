#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "server/access/refusals.h"

namespace vmeventd {

// Kinds of calls, each with a limit. A peer needs few calls of kOther at once, and gRPC 1.51 stores
// some 20 KB for each.
enum class CallKind { kStream, kOther, kRefused };

// Limits of one listener. A refused call, and one of an unknown method, counts only for its peer,
// until it is done, because a client may not read its end. If the peer then has more than twice its
// limit of other calls, the connection is cut.
struct CallLimits {
  int streams = 2'000;  // WatchEvents
  int streams_of_peer = 1'000;
  int other_calls = 1'000;  // limit for all other methods together
  int other_calls_of_peer = 500;
  // Limit of the memory that calls hold until they are done: answers that a client has not read,
  // and filters of streams.
  size_t held_bytes = size_t{48} << 20;
  size_t held_bytes_of_peer = size_t{16} << 20;
};

// The caller behind a connection.
struct CallPeer {
  std::string peer;                                 // see peer.h
  std::vector<std::string> certificate_names = {};  // see CertificateNamesOf()
  size_t listener = 0;                              // index of the listener that accepted it
};

// The open connections and calls. Maps the name of a call's connection to the peer behind it. Any
// thread.
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

}  // namespace vmeventd
