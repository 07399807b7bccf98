#pragma once

#include <sys/types.h>

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
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/openssl_ptr.h"
#include "base/receiving_socket.h"
#include "base/system.h"
#include "server/access/access.h"
#include "server/transport/client_frames.h"

namespace vmeventd {

// One end of a connection: a socket, or TLS over one whose handshake is done. Never waits.
// One thread; the process ignores SIGPIPE. It stays where it is made: OpenSSL holds a pointer to
// it.
class Wire {
 public:
  // A client needs none of TLS's own messages after the handshake, but for a change of keys once in
  // a long while; each costs far more than its bytes.
  static constexpr int kMaxTlsMessages = 16;

  // Makes one end; a plain connection's if `tls` is null.
  explicit Wire(ReceivingSocket socket, SslPtr tls = nullptr);
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  int fd() const { return socket_.get(); }
  // Negative: nothing to read now; 0: the end, or an error, which is one.
  ssize_t Receive(char* out, size_t size);
  // Sends what the other end accepts now, maybe nothing, and returns its size. Negative: it accepts
  // nothing any more. If not all was accepted, the next call begins with the rest.
  ssize_t Send(absl::string_view bytes);
  // Sends the end after what was sent.
  void ShutDown();

  // Bytes that came from the network for Receive, headers of TLS included.
  uint64_t received() const;
  // Returns whether Receive may return more although the socket has nothing to read.
  bool HasPending() const;

 private:
  ssize_t ReceiveTls(char* out, size_t size);
  ssize_t SendTls(absl::string_view bytes);

  ReceivingSocket socket_;
  const SslPtr tls_;
  uint64_t received_ = 0;  // bytes of a plain connection
  int tls_messages_ = 0;
  bool failed_ = false;
};

// Limits of what all connections of a peer send together; each connection has half of them. Beyond
// them the relay reads nothing until enough time has passed, and closes a connection with too many
// resets or control frames of its own.
struct RelayLimits {
  // Bytes. Clients need most of them for flow control: 26 bytes for each 16 KiB that they read, so
  // that a reader of 600 MB/s sends 1 MB/s. A connection's burst admits the largest request at
  // once.
  TokenRate bytes = {2 << 20, (2 << 20) + (256 << 10)};
  // Calls: gRPC 1.51 takes them up faster than it gets through them, at 20 KB each.
  TokenRate calls = {5'000, 1'000};
  // RST_STREAM: gRPC 1.51 spends far more on a call that is reset at once than the client.
  TokenRate resets = {200, 1'000};
  TokenRate control = {2'000, 2'000};  // see ClientFrames::Counts
  // Bytes that each connection may send whatever the others of its peer do.
  TokenRate always = {2 << 10, 1 << 10};
  // Time after which a client that reads nothing, while data waits for it, is disconnected.
  absl::Duration unread = absl::Seconds(60);
};

// Moves bytes between clients and the gRPC server, which gets one end of a socket pair for each: it
// checks each frame of a client (ClientFrames), and bounds their rates, before gRPC sees it,
// because gRPC 1.51 aborts if a connection always has more to read
// (docs/internals/adr/0012-a-relay.md). Nothing of a client is read before the server has sent its
// SETTINGS. It holds at most 64 KiB of a connection, and 4 KiB while 8 MiB wait for all clients; an
// end that does not read holds up the other one.
//
// Loop thread, but for Cut.
class Relay {
 public:
  using Id = uint64_t;

  // Gets the reason, for people, why a connection is closed.
  using Breached = std::function<void(Id, const std::string&)>;

  // Calls `ended` on the loop's thread when a connection is gone, and `breached` before that if it
  // is closed because of what its client sent or did not read. The pointers outlive it, and the
  // loop takes no turn without it.
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
  struct Budget;
  struct Connection;

  // Returns the budget of a peer. Peers beyond kMaxPeers share one.
  std::shared_ptr<Budget> FindPeer(const std::string& peer);
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
  // Ends the connection with a GOAWAY, after the present frame of the server.
  void Breach(Connection* connection, const std::string& why);
  void SendGoodbye(Connection* connection);
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
  const Breached breached_;

  absl::flat_hash_map<std::string, std::shared_ptr<Budget>> peers_;
  Id next_id_ = 0;
  absl::flat_hash_map<Id, std::unique_ptr<Connection>> connections_;
  std::array<char, 64 << 10> buffer_;
  std::string to_server_;   // buffer of one turn
  size_t waiting_out_ = 0;  // bytes of all connections that their clients have not taken
};

}  // namespace vmeventd
