#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/openssl_ptr.h"
#include "base/receiving_socket.h"
#include "base/unique_fd.h"
#include "server/access/refusals.h"
#include "server/transport/client_frames.h"
#include "server/transport/inbound_budget.h"

namespace vmeventd {

// Moves bytes between clients and the gRPC server, which gets one end of a socket pair for each:
// what a client sends is checked frame by frame (ClientFrames), and bounded, before gRPC sees it,
// because gRPC 1.51 aborts where a connection always has more to read (docs/adr/0012-a-relay.md).
// Nothing of a client is read before the server has sent its SETTINGS.
// No more than 64 KiB of a connection are held here; who does not read holds up the other end.
//
// Loop thread, but for Cut.
class Relay {
 public:
  using Id = uint64_t;

  // `ended` is called on the loop's thread when a connection is gone. `breached`, likewise and
  // before, when one is closed because of what its client sent or did not read. The pointers
  // outlive it, and the loop takes no turn without it.
  Relay(
      RelayLimits limits, EventLoop* loop, RefusalCounters* refusals, std::function<void(Id)> ended,
      std::function<void(Id, const Breach&)> breached = [](Id, const Breach&) {});
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  // A connection that is relayed.
  struct Added {
    Id id;            // never used again
    UniqueFd server;  // the other end of the pair, non-blocking
    // gRPC's name for the peer of `server`, as in ServerContext::peer(): one that no other
    // socket of the host has while the connection is open.
    std::string name;
  };
  // `tls`: of a handshake that is done; null: a plain connection. The error is of the system, which
  // is out of descriptors or memory.
  absl::StatusOr<Added> Add(ReceivingSocket client, SslPtr tls, const std::string& peer);

  // Closes a connection soon, without sending what waits. Any thread.
  void Cut(Id id);
  // Ends every connection as if the server had closed it: the client gets what waits, then the end.
  // The server sees the client's end.
  void EndAll();
  // Closes every connection now, without sending what waits.
  void CloseAll();

  size_t size() const { return connections_.size(); }

 private:
  struct Connection;

  void HandleClient(Connection* connection, uint32_t events);
  void HandleServer(Connection* connection, uint32_t events);
  // From the client to the server, and back.
  void MoveIn(Connection* connection);
  void MoveOut(Connection* connection);
  // Takes what the client sent, and passes on what may be.
  void TakeIn(Connection* connection, absl::string_view bytes);
  // Takes what the server sent. False: the connection is closed.
  bool TakeOut(Connection* connection, absl::string_view bytes);
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
  // Tells epoll what to look for.
  void UpdateInterest(Connection* connection);
  void Close(Connection* connection);
  Connection* Find(Id id);
  absl::Duration now() const { return loop_->turn_began(); }

  const RelayLimits limits_;
  EventLoop* const loop_;
  RefusalCounters* const refusals_;
  const std::function<void(Id)> ended_;
  const std::function<void(Id, const Breach&)> breached_;

  PeerBudgets peers_;
  Id next_id_ = 0;
  absl::flat_hash_map<Id, std::unique_ptr<Connection>> connections_;
  std::array<char, 64 << 10> buffer_;
  std::string to_server_;  // of one turn
  std::string to_client_;
};

}  // namespace vmeventd
