#ifndef VMEVENTD_SERVER_TRANSPORT_RELAY_H_
#define VMEVENTD_SERVER_TRANSPORT_RELAY_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/receiving_socket.h"
#include "base/unique_fd.h"
#include "server/access/rate_limiter.h"
#include "server/access/refusals.h"

namespace vmeventd {

// How many bytes clients may send. What they need most of is flow control: 26 bytes for each 16 KiB
// that they read, so that a reader of 600 MB/s sends 1 MB/s.
struct RelayLimits {
  TokenRate connection = {1 << 20, 64 << 10};
  // All connections of one peer together; but each may send as much as `always` whatever the others
  // do, so that a peer's flood on one connection does not silence its other clients.
  TokenRate peer = {2 << 20, 256 << 10};
  TokenRate always = {2 << 10, 1 << 10};
};

// Moves bytes between clients and the gRPC server, which gets one end of a socket pair for each:
// what a client sends is bounded before gRPC sees it, because gRPC 1.51 aborts where a connection
// always has more to read (docs/adr/0012-a-relay.md). A connection that sends too much waits, and
// is not closed. No more than 64 KiB of a connection are held here; who does not read holds up the
// other end.
//
// One thread, but for Cut.
class Relay {
 public:
  using Id = uint64_t;
  static constexpr size_t kMaxPeers = 16'384;  // with a budget of their own; the rest share one

  // `ended` is called on the relay's thread when a connection is gone. The pointers outlive it.
  Relay(RelayLimits limits, const Clock* clock, RefusalCounters* refusals,
        std::function<void(Id)> ended);
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  // A connection that is relayed.
  struct Added {
    Id id;            // never used again
    UniqueFd server;  // the other end of the pair, non-blocking
    // What gRPC calls the peer of `server`, as in ServerContext::peer(): a name that no other
    // socket of the host has while the connection is open.
    std::string name;
    // What is added here, by any thread, counts as if the client had sent it.
    std::shared_ptr<std::atomic<int64_t>> charges;
  };
  // The error is of the system, which is out of descriptors or memory.
  absl::StatusOr<Added> Add(ReceivingSocket client, std::string peer);
  // For the sockets that are handed to Add.
  SocketCloser* closer() { return &closer_; }

  // Calls `ready` in RunOnce while `fd` has something to read.
  void Watch(int fd, std::function<void()> ready);
  // Whether what is watched is looked at.
  void SetWatching(bool watching);

  // Moves what waits, after waiting for it at most `timeout`.
  void RunOnce(absl::Duration timeout);

  // Closes a connection soon, without sending what waits. Any thread.
  void Cut(Id id);
  // Ends every connection as if the server had closed it: the client gets what waits, then the end.
  // The server sees the client's end.
  void EndAll();
  // Closes every connection now, without sending what waits.
  void CloseAll();
  // Lets RunOnce return. Any thread.
  void Wake();

  size_t size() const { return connections_.size(); }

 private:
  struct Connection;
  enum Side : uint64_t { kClient, kServer, kWatched };

  void HandleEvent(uint64_t tag, uint32_t events);
  void HandleClient(Connection* connection, uint32_t events);
  void HandleServer(Connection* connection, uint32_t events);
  void HandleTimers();
  void HandleCuts();
  // From the client to the server, and back.
  void MoveIn(Connection* connection);
  void MoveOut(Connection* connection);
  // How much may be read from the client now. 0: it has to wait, and a timer is set.
  size_t Allowance(Connection* connection);
  // Counts what was read.
  void Spend(Connection* connection, size_t bytes);
  void Pause(Connection* connection, absl::Duration wait);
  // The server has closed its end: the client may take a while, not for ever.
  void StartLinger(Connection* connection);
  // All that the server sent has been passed on.
  void FinishOut(Connection* connection);
  // What epoll is to look for.
  void UpdateInterest(Connection* connection);
  void Close(Connection* connection);
  Connection* Find(Id id);
  absl::Duration UntilTimer() const;

  const RelayLimits limits_;
  const Clock* const clock_;
  RefusalCounters* const refusals_;
  const std::function<void(Id)> ended_;
  const UniqueFd epoll_;
  const UniqueFd wake_;  // an eventfd
  RateLimiter peers_;
  SocketCloser closer_;

  Id next_id_ = 0;
  absl::flat_hash_map<Id, std::unique_ptr<Connection>> connections_;
  struct Watched {
    int fd;
    std::function<void()> ready;
  };
  std::vector<Watched> watched_;
  std::set<std::pair<absl::Duration, Id>> timers_;  // monotonic: when to look at a connection
  absl::Duration now_;                              // of this turn
  std::array<char, 64 << 10> buffer_;

  Mutex mutex_;
  std::vector<Id> cuts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_TRANSPORT_RELAY_H_
