#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/openssl_ptr.h"
#include "base/receiving_socket.h"
#include "base/token_bucket.h"
#include "base/unique_fd.h"
#include "server/access/refusals.h"

namespace vmeventd {

// Limits of what all connections of a peer send together; each connection may use half of them.
// Beyond them, the relay reads nothing until enough time has passed; it closes a connection that
// itself sends too many resets or control frames.
struct RelayLimits {
  // Bytes. Clients need most of them for flow control: 26 bytes for each 16 KiB that they read, so
  // a client that reads 600 MB/s sends 1 MB/s. A connection's burst admits the largest request at
  // once.
  TokenRate bytes = {2 << 20, (2 << 20) + (256 << 10)};
  // Calls: gRPC 1.51 accepts them faster than it handles them, at 20 KB each.
  TokenRate calls = {5'000, 1'000};
  // RST_STREAM: a call that is reset at once costs gRPC 1.51 far more than the client.
  TokenRate resets = {200, 1'000};
  TokenRate control = {2'000, 2'000};  // see ClientFrames::Counts
  // Bytes that each connection may send in any case, whatever the others of its peer send.
  TokenRate always = {2 << 10, 1 << 10};
  // Time after which a client that reads nothing, while data waits for it, is disconnected. Longer
  // than StreamOptions::write_timeout, so that a stream mostly ends before, for that reason.
  absl::Duration unread = absl::Seconds(70);
};

// Moves bytes between clients and the gRPC server, which gets one end of a socket pair for each
// client. Checks each frame of a client (ClientFrames) and limits the rates before gRPC sees it,
// because gRPC 1.51 aborts if a connection always has more to read
// (docs/internals/adr/0012-a-relay.md). Reads nothing from a client before the server has sent its
// SETTINGS. Holds at most 64 KiB of a connection, and 4 KiB while 8 MiB wait for all clients; an
// end that does not read blocks the other one.
//
// Loop thread, except Cut.
class Relay {
 public:
  using Id = uint64_t;

  // Gets the reason, for people, why a connection is closed.
  using Breached = std::function<void(Id, const std::string&)>;

  // Calls `ended` on the loop's thread when a connection is gone, and `breached` before that if it
  // is closed because of what its client sent or did not read. The pointers outlive it; the loop
  // takes no turn after its end.
  Relay(
      RelayLimits limits, EventLoop* loop, RefusalCounters* refusals, std::function<void(Id)> ended,
      Breached breached = [](Id, const std::string&) {});
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  struct Added {
    Id id = 0;        // never used again
    UniqueFd server;  // the other end of the pair, non-blocking
    // gRPC's name for the peer of `server`, as in ServerContext::peer(): random, never used again.
    std::string name;
  };
  // Adds a connection. `tls` has finished its handshake; null: a plain connection. The error is the
  // system's: out of descriptors or memory.
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
  struct Budget;
  struct Connection;

  // Returns the budget of a peer. Peers beyond kMaxPeers share one.
  std::shared_ptr<Budget> FindPeer(const std::string& peer);
  void HandleClient(Connection* connection, uint32_t events);
  void HandleServer(Connection* connection, uint32_t events);
  // Move bytes in one direction, as far as the limits and the receiver permit.
  void MoveToServer(Connection* connection);
  void MoveToClient(Connection* connection);
  // Checks the frames of the client, and passes on those that are permitted.
  void HandleClientBytes(Connection* connection, absl::string_view bytes);
  // Passes on bytes of the server. False: the client is gone, close the connection.
  bool HandleServerBytes(Connection* connection, absl::string_view bytes);
  void Pause(Connection* connection, absl::Duration wait);
  // Ends the connection with a GOAWAY, after the server's current frame.
  void Breach(Connection* connection, const std::string& why);
  void SendGoodbye(Connection* connection);
  // Sends nothing more to the server, but reads the rest from it.
  void StopServer(Connection* connection);
  void Push(Connection* connection, absl::string_view bytes);
  // Gives the client `time` to read the rest; the server sends nothing more.
  void StartLinger(Connection* connection, absl::Duration time);
  // Ends the client's side after all was passed on to it.
  void FinishClient(Connection* connection);
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
  const Breached breached_;

  absl::flat_hash_map<std::string, std::shared_ptr<Budget>> peers_;
  Id next_id_ = 0;
  absl::flat_hash_map<Id, std::unique_ptr<Connection>> connections_;
  std::array<char, 64 << 10> buffer_;
  std::string to_server_;         // buffer of one turn
  size_t unread_by_clients_ = 0;  // bytes that wait in to_client, of all connections
};

}  // namespace vmeventd
