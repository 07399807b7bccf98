#include "server/transport/relay.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"
#include "base/random_bytes.h"
#include "base/token_bucket.h"
#include "base/unique_fd.h"
#include "server/transport/client_frames.h"
#include "server/transport/http2_frame.h"
#include "server/transport/wire.h"

namespace vmeventd {
namespace {

// Limit of the bytes passed on from the client at once: between two such pieces gRPC finds nothing
// to read, and handles the first one.
constexpr size_t kPieceIn = 4 << 10;
constexpr size_t kMinPieceIn = 64;  // avoids reads of a few bytes after too much was sent
constexpr absl::Duration kPeerPause = absl::Milliseconds(50);
constexpr size_t kMaxPeers = 16'384;
constexpr int kPiecesOut = 4;  // pieces of one connection before the next has its turn
// Limit of the bytes that wait for all clients, beyond which little more is read for each.
constexpr size_t kMuchWaiting = 8 << 20;
constexpr size_t kSmallPieceOut = 4 << 10;
// Time for the client of a connection that gRPC has closed to read what was sent before, and to
// close.
constexpr absl::Duration kLinger = absl::Seconds(10);
// The same for a connection closed because of what its client sent.
constexpr absl::Duration kGoodbye = absl::Seconds(2);

// Removes what was sent, and its memory.
void Consume(std::string* waiting, size_t sent) {
  if (sent > 0) *waiting = std::string(*waiting, sent);
}

// Socket buffer sizes; the kernel doubles them, and counts its own overhead.
constexpr int kToServer = 4 << 10;
constexpr int kFromServer = 64 << 10;

// Makes the pair of sockets between the relay and gRPC's server, and returns the relay's end. Both
// are non-blocking, and hold little. The error is of the system, which is out of descriptors or
// memory.
absl::StatusOr<UniqueFd> MakeNamedPair(Relay::Added* added) {
  int pair[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
    return ErrnoStatus("a connection", "no socket pair can be made", errno);
  }
  UniqueFd relay(pair[0]);
  added->server = UniqueFd(pair[1]);
  // A name that the kernel chooses has only 20 bits. gRPC may still begin calls of a connection
  // that is gone here, and they must not pass for those of a new one.
  const std::string name = absl::BytesToHexString(RandomBytes(16));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // A zero byte precedes an abstract name.
  std::copy(name.begin(), name.end(), address.sun_path + 1);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (bind(pair[0], reinterpret_cast<sockaddr*>(&address), size) != 0) {
    return ErrnoStatus("a connection", "its socket pair cannot be named", errno);
  }
  added->name = absl::StrCat("unix-abstract:", name);
  setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &kToServer, sizeof(kToServer));
  setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &kFromServer, sizeof(kFromServer));
  return relay;
}

}  // namespace

// The amounts that one peer, or one connection, may still send now.
struct Relay::Budget {
  Budget(const RelayLimits& limits, double share)
      : bytes(limits.bytes.burst * share, limits.bytes.per_second * share),
        calls(limits.calls.burst * share, limits.calls.per_second * share),
        resets(limits.resets.burst * share, limits.resets.per_second * share),
        control(limits.control.burst * share, limits.control.per_second * share) {}

  // Counts what was read. Returns the time for which nothing more may be read.
  absl::Duration Charge(uint64_t size, const ClientFrames::Counts& counts, absl::Duration now) {
    return std::max({bytes.Charge(static_cast<double>(size), now), calls.Charge(counts.calls, now),
                     resets.Charge(counts.resets, now), control.Charge(counts.control, now)});
  }
  bool IsFull(absl::Duration now) const {
    return bytes.IsFull(now) && calls.IsFull(now) && resets.IsFull(now) && control.IsFull(now);
  }

  TokenBucket bytes;
  TokenBucket calls;
  TokenBucket resets;
  TokenBucket control;
};

struct Relay::Connection {
  Connection(Relay* relay, Id number, ReceivingSocket client_end, UniqueFd server_end,
             std::shared_ptr<Budget> peer, SslPtr tls, const RelayLimits& limits)
      : of_client{relay, this, &Relay::HandleClient},
        of_server{relay, this, &Relay::HandleServer},
        id(number),
        client(std::move(client_end), std::move(tls)),
        server(ReceivingSocket(std::move(server_end), nullptr)),  // gRPC passes no descriptors
        of_peer(std::move(peer)),
        own(limits, 0.5),
        always(limits.always) {}

  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // Returns how many bytes may be read now. 0: none before `*wait` has passed.
  size_t Allowance(absl::Duration now, absl::Duration* wait) {
    const absl::Duration debt = of_peer->Charge(0, {}, now);
    if (debt == absl::ZeroDuration()) return kPieceIn;
    *wait = std::min(debt, kPeerPause);
    const auto left = static_cast<size_t>(std::max(0.0, always.Available(now)));
    return left < kMinPieceIn ? 0 : std::min(kPieceIn, left);
  }
  // Counts what was read. Returns the time for which nothing more may be read.
  absl::Duration Spend(uint64_t size, absl::Duration now) {
    const ClientFrames::Counts counts = frames.TakeCounts();
    if (always.Available(now) >= static_cast<double>(size)) {
      always.Charge(static_cast<double>(size), now);
    } else {
      of_peer->Charge(size, counts, now);
    }
    return own.Charge(size, counts, now);
  }
  // Returns whether the client floods: its connection has exceeded the limits of resets or of
  // control frames.
  bool Floods(absl::Duration now) const {
    return own.resets.Available(now) < 0 || own.control.Available(now) < 0;
  }
  bool server_reads() const { return !discards && !server_hung_up && !server_ended; }

  // Receives epoll's events of one end.
  struct End : FdHandler {
    End(Relay* of, Connection* is, void (Relay::*does)(Connection*, uint32_t))
        : relay(of), connection(is), handle(does) {}
    void OnFdReady(uint32_t events) override { (relay->*handle)(connection, events); }

    Relay* const relay;
    Connection* const connection;
    void (Relay::*const handle)(Connection*, uint32_t);
  };
  End of_client;
  End of_server;
  const Id id;
  Wire client;
  Wire server;
  const std::shared_ptr<Budget> of_peer;
  Budget own;
  TokenBucket always;   // bytes that the peer's budget does not cover
  ClientFrames frames;  // frames of the client
  FrameReader answers;  // frames of the server
  std::string goodbye;  // the GOAWAY that ends the connection after the server's present frame

  std::string to_server;  // read but not yet taken; blocks further reads
  std::string to_client;
  absl::Duration read_at = -absl::InfiniteDuration();  // the client has to wait until then
  absl::Duration took_at = absl::ZeroDuration();       // last time the client took data or had none
  absl::Duration close_at = absl::InfiniteDuration();
  TimerId timer;
  bool answered = false;  // the server has sent its SETTINGS: before that, its bounds do not hold
  bool client_ended = false;    // client sends no more
  bool discards = false;        // discards what the client sends
  bool server_hung_up = false;  // server closed; its data can still be read
  bool server_ended = false;    // all of that was read, or does not count any more
  bool finished = false;        // the client has been sent all, and the end
  uint32_t client_interest = 0;
  uint32_t server_interest = EPOLLIN;
};

Relay::Relay(RelayLimits limits, EventLoop* loop, RefusalCounters* refusals,
             std::function<void(Id)> ended, Breached breached)
    : limits_(limits),
      loop_(loop),
      refusals_(refusals),
      ended_(std::move(ended)),
      breached_(std::move(breached)) {}

Relay::~Relay() = default;

std::shared_ptr<Relay::Budget> Relay::FindPeer(const std::string& peer) {
  if (const auto found = peers_.find(peer); found != peers_.end()) return found->second;
  if (peers_.size() >= kMaxPeers) {
    absl::erase_if(peers_, [this](const auto& entry) {
      return entry.second.use_count() == 1 && entry.second->IsFull(now());
    });
  }
  std::shared_ptr<Budget>& out = peers_[peers_.size() < kMaxPeers ? peer : ""];
  if (out == nullptr) out = std::make_shared<Budget>(limits_, 1);
  return out;
}

absl::StatusOr<Relay::Added> Relay::Add(ReceivingSocket client, SslPtr tls,
                                        const std::string& peer) {
  Added added;
  absl::StatusOr<UniqueFd> own = MakeNamedPair(&added);
  if (!own.ok()) return own.status();
  const int one = 1;  // fails on a Unix socket, which does not wait anyway
  setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  added.id = next_id_++;
  auto connection = std::make_unique<Connection>(this, added.id, std::move(client), *std::move(own),
                                                 FindPeer(peer), std::move(tls), limits_);
  absl::Status watched =
      loop_->Add(connection->client.fd(), connection->client_interest, &connection->of_client);
  if (watched.ok()) {
    watched =
        loop_->Add(connection->server.fd(), connection->server_interest, &connection->of_server);
  }
  if (!watched.ok()) {
    loop_->Remove(connection->client.fd());
    return watched;
  }
  connections_.emplace(added.id, std::move(connection));
  return added;
}

void Relay::Cut(Id id) {
  loop_->Post([this, id] {
    if (Connection* const connection = Find(id)) Close(connection);
  });
}

Relay::Connection* Relay::Find(Id id) {
  const auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : found->second.get();
}

void Relay::HandleClient(Connection* connection, uint32_t events) {
  // Nothing can be sent to the client any more, so it would get no answer to what it sent.
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) return Close(connection);
  const Id id = connection->id;
  if ((events & EPOLLOUT) != 0) MoveToClient(connection);
  if ((events & EPOLLIN) != 0 && Find(id) != nullptr) MoveToServer(connection);
}

void Relay::HandleServer(Connection* connection, uint32_t events) {
  if (connection->server_hung_up) return;
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
    // epoll would report it for ever. The client's descriptor triggers what follows.
    StopServer(connection);
    StartLinger(connection, kLinger);
  }
  const Id id = connection->id;
  if ((events & EPOLLOUT) != 0) MoveToServer(connection);
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && Find(id) != nullptr)
    MoveToClient(connection);
}

void Relay::StopServer(Connection* connection) {
  if (connection->server_hung_up) return;
  loop_->Remove(connection->server.fd());
  connection->server_hung_up = true;
  connection->to_server = std::string();
}

void Relay::MoveToServer(Connection* connection) {
  std::string& waiting = connection->to_server;
  if (!waiting.empty()) {
    const ssize_t sent = connection->server_reads() ? connection->server.Send(waiting) : -1;
    // Negative: the server is gone, which the other direction also finds.
    Consume(&waiting, sent < 0 ? waiting.size() : static_cast<size_t>(sent));
  } else if (connection->read_at <= now() && !connection->client_ended) {
    absl::Duration wait;
    const size_t allowance = connection->Allowance(now(), &wait);
    if (allowance == 0) {
      Pause(connection, wait);
    } else {
      const uint64_t before = connection->client.received();
      const ssize_t size = connection->client.Receive(buffer_.data(), allowance);
      if (size == 0) {
        connection->client_ended = true;
        shutdown(connection->server.fd(), SHUT_WR);
        if (connection->finished) return Close(connection);
      }
      if (size > 0) HandleClientBytes(connection, {buffer_.data(), static_cast<size_t>(size)});
      wait = connection->Spend(connection->client.received() - before, now());
      if (wait > absl::ZeroDuration()) Pause(connection, wait);
      if (connection->Floods(now()) && connection->server_reads()) {
        Breach(connection, "it resets too many calls, or sends too many control frames");
      }
    }
  }
  if (waiting.empty() && connection->read_at <= now() && !connection->client_ended &&
      connection->client.HasPending()) {
    Arm(connection, now());
  }
  // Sends a pending GOAWAY now.
  if (!connection->to_client.empty() || !connection->goodbye.empty()) {
    MoveToClient(connection);
  } else {
    UpdateInterest(connection);
  }
}

void Relay::HandleClientBytes(Connection* connection, absl::string_view bytes) {
  if (!connection->server_reads()) return;
  to_server_.clear();
  if (const auto broken = connection->frames.Read(bytes, &to_server_); broken.has_value()) {
    return Breach(connection, *broken);
  }
  if (to_server_.empty()) return;
  const ssize_t sent = connection->server.Send(to_server_);
  if (sent >= 0) connection->to_server = to_server_.substr(static_cast<size_t>(sent));
}

void Relay::Pause(Connection* connection, absl::Duration wait) {
  refusals_->Count(Refusal::kInboundRate);
  connection->read_at = now() + wait;
  Arm(connection, connection->read_at);
}

void Relay::Breach(Connection* connection, const std::string& why) {
  refusals_->Count(Refusal::kFrames);
  breached_(connection->id, why);
  connection->discards = true;
  connection->goodbye = GoAwayFrame(connection->frames.last_stream(), why);
  StartLinger(connection, kGoodbye);
  if (connection->answers.between_frames()) SendGoodbye(connection);
}

void Relay::SendGoodbye(Connection* connection) {
  Push(connection, std::exchange(connection->goodbye, ""));
  connection->server_ended = true;
  StopServer(connection);
  shutdown(connection->server.fd(), SHUT_RDWR);
}

void Relay::Push(Connection* connection, absl::string_view bytes) {
  if (bytes.empty()) return;
  if (connection->to_client.empty()) connection->took_at = now();
  absl::StrAppend(&connection->to_client, bytes);
  unread_by_clients_ += bytes.size();
}

void Relay::MoveToClient(Connection* connection) {
  for (int piece = 0; piece < kPiecesOut; ++piece) {
    if (!connection->to_client.empty()) {
      const ssize_t sent = connection->client.Send(connection->to_client);
      if (sent < 0) return Close(connection);
      if (sent > 0) connection->took_at = now();
      Consume(&connection->to_client, static_cast<size_t>(sent));
      unread_by_clients_ -= static_cast<size_t>(sent);
      if (!connection->to_client.empty()) break;
    }
    if (connection->server_ended) return FinishClient(connection);
    const size_t wanted = unread_by_clients_ < kMuchWaiting ? buffer_.size() : kSmallPieceOut;
    const ssize_t size = connection->server.Receive(buffer_.data(), wanted);
    if (size < 0) break;
    if (size == 0) {
      connection->server_ended = true;
      continue;
    }
    const absl::string_view bytes(buffer_.data(), static_cast<size_t>(size));
    if (!HandleServerBytes(connection, bytes)) return Close(connection);
    // Fewer bytes than wanted: nothing more is pending, and epoll reports later data.
    if (bytes.size() < wanted / 2 && !connection->server_hung_up && connection->to_client.empty()) {
      break;
    }
  }
  if (!connection->to_client.empty()) Arm(connection, connection->took_at + limits_.unread);
  UpdateInterest(connection);
}

bool Relay::HandleServerBytes(Connection* connection, absl::string_view bytes) {
  absl::string_view rest = bytes;
  while (const std::optional<FrameReader::Part> part = connection->answers.Next(&rest)) {
    if (part->is_header) connection->frames.OnAnswer(connection->answers.header().type);
    if (!part->ends_frame) continue;
    connection->answered = true;
    if (connection->goodbye.empty()) continue;
    Push(connection, bytes.substr(0, bytes.size() - rest.size()));
    SendGoodbye(connection);
    return true;
  }
  size_t sent = 0;
  if (connection->to_client.empty()) {
    const ssize_t taken = connection->client.Send(bytes);
    if (taken < 0) return false;
    sent = static_cast<size_t>(taken);
  }
  Push(connection, bytes.substr(sent));
  return true;
}

void Relay::StartLinger(Connection* connection, absl::Duration time) {
  connection->close_at = std::min(connection->close_at, now() + time);
  Arm(connection, connection->close_at);
}

void Relay::FinishClient(Connection* connection) {
  StartLinger(connection, kLinger);
  if (connection->client_ended) return Close(connection);
  // Closing while the client sends would cost it what was sent last (RFC 1122, 4.2.2.13).
  if (!std::exchange(connection->finished, true)) connection->client.ShutDown();
  UpdateInterest(connection);
}

void Relay::Arm(Connection* connection, absl::Duration when) {
  TimerId* const timer = &connection->timer;
  if (timer->serial != 0 && timer->deadline_ns <= absl::ToInt64Nanoseconds(when)) return;
  loop_->CancelTimer(timer);
  *timer = loop_->AddTimer(when, [this, connection] { OnTimer(connection); });
}

void Relay::OnTimer(Connection* connection) {
  connection->timer = {};
  if (connection->close_at <= now()) return Close(connection);
  if (!connection->to_client.empty()) {
    const absl::Duration until = connection->took_at + limits_.unread;
    if (until <= now()) {
      refusals_->Count(Refusal::kUnread);
      breached_(connection->id,
                absl::StrCat("its client has read nothing for ",
                             absl::FormatDuration(limits_.unread), ", and data waits for it"));
      Close(connection);
      return;
    }
    Arm(connection, until);
  }
  if (connection->close_at != absl::InfiniteDuration()) Arm(connection, connection->close_at);
  if (connection->read_at > now()) return Arm(connection, connection->read_at);
  if (connection->client.HasPending()) return MoveToServer(connection);
  UpdateInterest(connection);
}

void Relay::UpdateInterest(Connection* connection) {
  const auto update = [this](int fd, uint32_t wanted, uint32_t* current) {
    if (wanted != std::exchange(*current, wanted)) loop_->Modify(fd, wanted);
  };
  const bool in_waits = !connection->to_server.empty();
  const bool out_waits = !connection->to_client.empty();
  uint32_t client = 0;
  if (connection->answered && !in_waits && !connection->client_ended &&
      connection->read_at <= now()) {
    client |= EPOLLIN;
  }
  // A server that has hung up is not watched: its rest is read as fast as the client takes it.
  if (out_waits || (connection->server_hung_up && !connection->finished)) client |= EPOLLOUT;
  update(connection->client.fd(), client, &connection->client_interest);
  if (connection->server_hung_up) return;
  uint32_t server = 0;
  if (!out_waits && !connection->server_ended) server |= EPOLLIN;
  if (in_waits) server |= EPOLLOUT;
  update(connection->server.fd(), server, &connection->server_interest);
}

void Relay::EndAll() {
  for (const auto& [id, connection] : connections_) {
    shutdown(connection->server.fd(), SHUT_WR);
    connection->discards = true;
    connection->to_server = std::string();
    UpdateInterest(connection.get());
  }
}

void Relay::CloseAll() {
  while (!connections_.empty()) Close(connections_.begin()->second.get());
}

void Relay::Close(Connection* connection) {
  const Id id = connection->id;
  unread_by_clients_ -= connection->to_client.size();
  loop_->CancelTimer(&connection->timer);
  // epoll_wait holds the sockets that it looks at: it may drop the last reference, and then closes.
  loop_->Remove(connection->client.fd());
  if (!connection->server_hung_up) loop_->Remove(connection->server.fd());
  connections_.erase(id);
  ended_(id);
}

}  // namespace vmeventd
