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
#include "base/system.h"
#include "server/access/refusals.h"
#include "server/transport/client_frames.h"
#include "server/transport/inbound_budget.h"

namespace vmeventd {

// Moves bytes between clients and the gRPC server, which gets one end of a socket pair for each: it
// checks what a client sends frame by frame (ClientFrames), and bounds it, before gRPC sees it,
// because gRPC 1.51 aborts if a connection always has more to read
// (docs/internals/adr/0012-a-relay.md). Nothing of a client is read before the server has sent its
// SETTINGS. It holds at most 64 KiB of a connection; an end that does not read holds up the other
// one.
//
// Loop thread, but for Cut.
class Relay {
 public:
  using Id = uint64_t;

  // Calls `ended` on the loop's thread when a connection is gone, and `breached` before that if it
  // is closed because of what its client sent or did not read. The pointers outlive it, and the
  // loop takes no turn without it.
  Relay(
      RelayLimits limits, EventLoop* loop, RefusalCounters* refusals, std::function<void(Id)> ended,
      std::function<void(Id, const Breach&)> breached = [](Id, const Breach&) {});
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  struct Added {
    Id id;            // never used again
    UniqueFd server;  // the other end of the pair, non-blocking
    // gRPC's name for the peer of `server`, as in ServerContext::peer(): one that no other
    // socket of the host has while the connection is open.
    std::string name;
  };
  // Adds a connection. `tls` has finished its handshake; null: a plain connection. The error is of
  // the system, which is out of descriptors or memory.
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
  // Move bytes from the client to the server, and back.
  void MoveIn(Connection* connection);
  void MoveOut(Connection* connection);
  // Takes what the client sent, and passes on what is permitted.
  void TakeIn(Connection* connection, absl::string_view bytes);
  // Takes what the server sent. False: the connection is closed.
  bool TakeOut(Connection* connection, absl::string_view bytes);
  void Pause(Connection* connection, absl::Duration wait);
  // Ends the connection with a GOAWAY, which comes between two frames of the server.
  void SayGoodbye(Connection* connection, const Breach& breach);
  void EndAfterBetween(Connection* connection);
  // Reads the rest from the server, and sends it nothing more.
  void StopServer(Connection* connection);
  void Push(Connection* connection, absl::string_view bytes);
  // Gives the client `time` to read the rest; nothing more comes for it.
  void StartLinger(Connection* connection, absl::Duration time);
  // Ends the client's side, after all was passed on to it.
  void FinishOut(Connection* connection);
  // Looks at the connection at `when`, or earlier.
  void Arm(Connection* connection, absl::Duration when);
  void OnTimer(Connection* connection);
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
  std::string to_server_;  // buffers of one turn
  std::string to_client_;
};

}  // namespace vmeventd
