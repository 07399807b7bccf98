#ifndef VMEVENTD_SERVER_TRANSPORT_RELAY_H_
#define VMEVENTD_SERVER_TRANSPORT_RELAY_H_

#include <array>
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
#include "base/openssl_ptr.h"
#include "base/receiving_socket.h"
#include "base/token_bucket.h"
#include "base/unique_fd.h"
#include "server/access/refusals.h"
#include "server/transport/client_frames.h"

namespace vmeventd {

// What clients may send. Bytes and calls beyond it wait; frames beyond it end the connection.
struct RelayLimits {
  // Bytes. What clients need most of is flow control: 26 bytes for each 16 KiB that they read, so
  // that a reader of 600 MB/s sends 1 MB/s. The burst admits the largest request at once.
  TokenRate connection = {1 << 20, (1 << 20) + (128 << 10)};
  // All connections of one peer together; but each may send as much as `always` whatever the others
  // do, so that a peer's flood on one connection does not silence its other clients.
  TokenRate peer = {2 << 20, (2 << 20) + (256 << 10)};
  TokenRate always = {2 << 10, 1 << 10};
  // Calls: gRPC 1.51 takes them up faster than it gets through them, at 20 KB each.
  TokenRate calls = {2'500, 500};
  TokenRate calls_of_peer = {5'000, 1'000};
  FrameLimits frames;
  // A client that takes nothing for so long, while something waits for it, is disconnected.
  absl::Duration unread = absl::Seconds(60);
};

// Moves bytes between clients and the gRPC server, which gets one end of a socket pair for each:
// what a client sends is checked frame by frame (ClientFrames), and bounded, before gRPC sees it,
// because gRPC 1.51 aborts where a connection always has more to read (docs/adr/0012-a-relay.md).
// No more than 64 KiB of a connection are held here; who does not read holds up the other end.
//
// One thread, but for Cut.
class Relay {
 public:
  using Id = uint64_t;
  static constexpr size_t kMaxPeers = 16'384;  // with a budget of their own; the rest share one

  // `ended` is called on the relay's thread when a connection is gone. `breached`, likewise and
  // before, when one is closed because of what its client sent or did not read. The pointers
  // outlive it.
  Relay(
      RelayLimits limits, const Clock* clock, RefusalCounters* refusals,
      std::function<void(Id)> ended,
      std::function<void(Id, const Breach&)> breached = [](Id, const Breach&) {});
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
  };
  // `tls`: of a handshake that is done; null: a plain connection. The error is of the system, which
  // is out of descriptors or memory.
  absl::StatusOr<Added> Add(ReceivingSocket client, SslPtr tls, const std::string& peer);

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
  struct Peer;
  enum Side : uint64_t { kClient, kServer };

  void HandleEvent(uint64_t tag, uint32_t events);
  void HandleClient(Connection* connection, uint32_t events);
  void HandleServer(Connection* connection, uint32_t events);
  void HandleTimers();
  void HandleCuts();
  // From the client to the server, and back.
  void MoveIn(Connection* connection);
  void MoveOut(Connection* connection);
  // Takes what the client sent, and passes on what may be.
  void TakeIn(Connection* connection, absl::string_view bytes);
  // Takes what the server sent. False: the connection is closed.
  bool TakeOut(Connection* connection, absl::string_view bytes);
  // How much may be read from the client now. 0: it has to wait, and a timer is set.
  size_t Allowance(Connection* connection);
  // Counts what was read.
  void Spend(Connection* connection, uint64_t bytes, int calls);
  void Pause(Connection* connection, absl::Duration wait);
  // Ends the connection with a GOAWAY, which comes between two frames of the server.
  void SayGoodbye(Connection* connection, const Breach& breach);
  void EndAfterBetween(Connection* connection);
  // Reads from the server what it has sent, and gives it nothing more.
  void StopServer(Connection* connection);
  // Appends to what waits for the client.
  void Push(Connection* connection, absl::string_view bytes);
  // Nothing more comes for the client, which may take a while to read the rest, not for ever.
  void StartLinger(Connection* connection, absl::Duration time);
  // All that the client gets has been passed on.
  void FinishOut(Connection* connection);
  // Looks at the connection at `when`, or earlier.
  void Arm(Connection* connection, absl::Duration when);
  void OnTimer(Connection* connection);
  std::shared_ptr<Peer> FindPeer(const std::string& name);
  // What epoll is to look for.
  void UpdateInterest(Connection* connection);
  void Close(Connection* connection);
  Connection* Find(Id id);
  absl::Duration UntilTimer() const;

  const RelayLimits limits_;
  const Clock* const clock_;
  RefusalCounters* const refusals_;
  const std::function<void(Id)> ended_;
  const std::function<void(Id, const Breach&)> breached_;
  const UniqueFd epoll_;
  const UniqueFd wake_;  // an eventfd

  absl::flat_hash_map<std::string, std::shared_ptr<Peer>> peers_;
  Id next_id_ = 0;
  absl::flat_hash_map<Id, std::unique_ptr<Connection>> connections_;
  std::set<std::pair<absl::Duration, Id>> timers_;  // monotonic: when to look at a connection
  std::vector<Id> readable_;                        // have more to read that epoll does not report
  absl::Duration now_;                              // of this turn
  std::array<char, 64 << 10> buffer_;
  std::string to_server_;  // of one turn
  std::string to_client_;

  Mutex mutex_;
  std::vector<Id> cuts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_TRANSPORT_RELAY_H_
