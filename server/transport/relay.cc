#include "server/transport/relay.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"

namespace vmeventd {
namespace {

constexpr int kEventsAtOnce = 128;
// From the client at once: between two such pieces gRPC finds nothing to read, and does what the
// first one has caused.
constexpr size_t kPieceIn = 4 << 10;
constexpr double kLeastPiece = 64;  // not a few bytes at a time where a peer has sent too much
constexpr absl::Duration kPeerPause = absl::Milliseconds(50);
constexpr int kPiecesOut = 4;  // of one connection before the next has its turn
// Between relay and gRPC, in the kernel; it doubles what is asked for, and counts its own overhead.
constexpr int kPairBufferIn = 4 << 10;
constexpr int kPairBufferOut = 64 << 10;
// How long a connection that gRPC has closed may take to read what was sent before, and to close.
constexpr absl::Duration kLinger = absl::Seconds(10);
constexpr uint64_t kSides = 4;
constexpr uint64_t kWakeTag = UINT64_MAX;

// Sends what the socket takes now. Negative: it takes nothing any more.
ssize_t SendSome(int fd, absl::string_view bytes) {
  for (;;) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) return sent;
    if (errno == EAGAIN) return 0;
    if (errno != EINTR) return -1;
  }
}

// Calls `receive`. Negative: nothing to read now; 0: the end, or an error, which is one.
template <typename Receive>
ssize_t ReceiveSome(Receive receive) {
  for (;;) {
    const ssize_t received = receive();
    if (received >= 0) return received;
    if (errno == EAGAIN) return -1;
    if (errno != EINTR) return 0;
  }
}

// Removes what was sent, and the memory with the last of it.
void Consume(std::string* waiting, size_t sent) {
  if (sent == waiting->size()) {
    *waiting = std::string();
  } else {
    waiting->erase(0, sent);
  }
}

// Gives the socket a name of the kernel's choice, and returns it as gRPC writes it.
absl::StatusOr<std::string> BindToUniqueName(int fd) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socklen_t size = sizeof(address.sun_family);  // no name: the kernel takes a free abstract one
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0) {
    return ErrnoStatus("a connection", "its socket pair cannot be named", errno);
  }
  size = sizeof(address);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return ErrnoStatus("a connection", "the name of its socket pair cannot be read", errno);
  }
  constexpr size_t kBegin = offsetof(sockaddr_un, sun_path) + 1;  // behind the zero
  return absl::StrCat("unix-abstract:", absl::string_view(address.sun_path + 1, size - kBegin));
}

}  // namespace

struct Relay::Connection {
  Connection(Id number, ReceivingSocket client_end, UniqueFd server_end, std::string whose,
             const RelayLimits& limits)
      : id(number),
        client(std::move(client_end)),
        server(std::move(server_end)),
        peer(std::move(whose)),
        budget(limits.connection),
        always(limits.always) {}

  const Id id;
  ReceivingSocket client;
  const UniqueFd server;
  const std::string peer;
  const std::shared_ptr<std::atomic<int64_t>> charges = std::make_shared<std::atomic<int64_t>>(0);
  TokenBucket budget;  // of bytes from the client
  TokenBucket always;  // of those that its peer's budget does not cover

  std::string to_server;  // was read and not yet taken: nothing more is read meanwhile
  std::string to_client;
  absl::Duration read_at = -absl::InfiniteDuration();  // the client has to wait until then
  absl::Duration close_at = absl::InfiniteDuration();
  bool client_ended = false;    // it sends no more
  bool discards = false;        // what it sends
  bool server_hung_up = false;  // it is closed; what it has sent can still be read
  bool server_ended = false;    // and has been read
  uint32_t client_interest = EPOLLIN;
  uint32_t server_interest = EPOLLIN;
};

Relay::Relay(RelayLimits limits, const Clock* clock, RefusalCounters* refusals,
             std::function<void(Id)> ended)
    : limits_(limits),
      clock_(clock),
      refusals_(refusals),
      ended_(std::move(ended)),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      peers_(limits.peer.per_second, limits.peer.burst, kMaxPeers),
      now_(clock->Now().monotonic) {
  epoll_event event{.events = EPOLLIN, .data = {.u64 = kWakeTag}};
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, wake_.get(), &event);
}

Relay::~Relay() = default;

absl::StatusOr<Relay::Added> Relay::Add(ReceivingSocket client, std::string peer) {
  int pair[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0) {
    return ErrnoStatus("a connection", "no socket pair can be made", errno);
  }
  UniqueFd ours(pair[0]);
  UniqueFd theirs(pair[1]);
  absl::StatusOr<std::string> name = BindToUniqueName(ours.get());
  if (!name.ok()) return name.status();
  setsockopt(ours.get(), SOL_SOCKET, SO_SNDBUF, &kPairBufferIn, sizeof(kPairBufferIn));
  setsockopt(theirs.get(), SOL_SOCKET, SO_SNDBUF, &kPairBufferOut, sizeof(kPairBufferOut));
  const int one = 1;  // fails on a Unix socket, which does not wait anyway
  setsockopt(client.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  const Id id = next_id_++;
  auto connection = std::make_unique<Connection>(id, std::move(client), std::move(ours),
                                                 std::move(peer), limits_);
  for (const auto& [fd, side] :
       {std::pair(connection->client.get(), kClient), {connection->server.get(), kServer}}) {
    epoll_event event{.events = EPOLLIN, .data = {.u64 = id * kSides + side}};
    if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0) {
      return ErrnoStatus("a connection", "it cannot be watched", errno);
    }
  }
  std::shared_ptr<std::atomic<int64_t>> charges = connection->charges;
  connections_.emplace(id, std::move(connection));
  return Added{id, std::move(theirs), *std::move(name), std::move(charges)};
}

void Relay::Watch(int fd, std::function<void()> ready) {
  epoll_event event{.events = EPOLLIN, .data = {.u64 = watched_.size() * kSides + kWatched}};
  watched_.push_back({fd, std::move(ready)});
  epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
}

void Relay::SetWatching(bool watching) {
  for (size_t i = 0; i < watched_.size(); ++i) {
    epoll_event event{.events = watching ? static_cast<uint32_t>(EPOLLIN) : 0,
                      .data = {.u64 = i * kSides + kWatched}};
    // Fails only for one that has been closed, which is not watched then.
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, watched_[i].fd, &event);
  }
}

void Relay::Wake() {
  // Fails only where it is set already.
  static_cast<void>(eventfd_write(wake_.get(), 1));
}

void Relay::Cut(Id id) {
  {
    const MutexLock lock(&mutex_);
    cuts_.push_back(id);
  }
  Wake();
}

Relay::Connection* Relay::Find(Id id) {
  const auto found = connections_.find(id);
  return found == connections_.end() ? nullptr : found->second.get();
}

absl::Duration Relay::UntilTimer() const {
  return timers_.empty() ? absl::InfiniteDuration()
                         : timers_.begin()->first - clock_->Now().monotonic;
}

void Relay::RunOnce(absl::Duration timeout) {
  timeout = std::min(timeout, UntilTimer());
  const int milliseconds =
      timeout == absl::InfiniteDuration()
          ? -1
          : static_cast<int>(std::max(0.0, std::ceil(absl::ToDoubleMilliseconds(timeout))));
  std::array<epoll_event, kEventsAtOnce> events;
  const int count = epoll_wait(epoll_.get(), events.data(), kEventsAtOnce, milliseconds);
  now_ = clock_->Now().monotonic;
  for (int i = 0; i < count; ++i) HandleEvent(events[i].data.u64, events[i].events);
  HandleTimers();
}

void Relay::HandleEvent(uint64_t tag, uint32_t events) {
  if (tag == kWakeTag) {
    eventfd_t ignored = 0;
    static_cast<void>(eventfd_read(wake_.get(), &ignored));  // fails where nothing was written
    HandleCuts();
    return;
  }
  const Id id = tag / kSides;
  if (tag % kSides == kWatched) {
    watched_[id].ready();
    return;
  }
  Connection* const connection = Find(id);
  if (connection == nullptr) return;  // closed in this turn
  if (tag % kSides == kClient) {
    HandleClient(connection, events);
  } else {
    HandleServer(connection, events);
  }
}

void Relay::HandleClient(Connection* connection, uint32_t events) {
  // Nothing can be sent to it any more. What it sent before is an order without an answer at most.
  if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
    Close(connection);
    return;
  }
  const Id id = connection->id;
  if ((events & EPOLLOUT) != 0) MoveOut(connection);
  if ((events & EPOLLIN) != 0 && Find(id) != nullptr) MoveIn(connection);
}

void Relay::HandleServer(Connection* connection, uint32_t events) {
  if ((events & (EPOLLHUP | EPOLLERR)) != 0 && !connection->server_hung_up) {
    // epoll would report it for ever. The client's descriptor says when to go on.
    epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, connection->server.get(), nullptr);
    connection->server_hung_up = true;
    connection->to_server = std::string();
    StartLinger(connection);
  }
  const Id id = connection->id;
  if ((events & EPOLLOUT) != 0) MoveIn(connection);
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0 && Find(id) != nullptr) MoveOut(connection);
}

void Relay::MoveIn(Connection* connection) {
  std::string& waiting = connection->to_server;
  const bool server_reads =
      !connection->discards && !connection->server_hung_up && !connection->server_ended;
  if (!waiting.empty()) {
    const ssize_t sent = server_reads ? SendSome(connection->server.get(), waiting) : -1;
    // Negative: the server is gone, which the other way finds too.
    Consume(&waiting, sent < 0 ? waiting.size() : static_cast<size_t>(sent));
  } else if (connection->read_at <= now_ && !connection->client_ended) {
    const size_t allowance = Allowance(connection);
    const ssize_t size = allowance == 0 ? -1 : ReceiveSome([&] {
      return connection->client.Receive(buffer_.data(), allowance);
    });
    if (size == 0) {
      connection->client_ended = true;
      shutdown(connection->server.get(), SHUT_WR);
      if (connection->server_ended) {
        Close(connection);
        return;
      }
    }
    if (size > 0) {
      const absl::string_view bytes(buffer_.data(), static_cast<size_t>(size));
      Spend(connection, bytes.size());
      const ssize_t sent = server_reads ? SendSome(connection->server.get(), bytes) : -1;
      if (sent >= 0) waiting = std::string(bytes.substr(static_cast<size_t>(sent)));
    }
  }
  UpdateInterest(connection);
}

size_t Relay::Allowance(Connection* connection) {
  const auto charged =
      static_cast<double>(connection->charges->exchange(0, std::memory_order_relaxed));
  if (charged > 0) {
    peers_.Spend(connection->peer, charged, now_);
    const absl::Duration wait = connection->budget.Charge(charged, now_);
    if (wait > absl::ZeroDuration()) {
      Pause(connection, wait);
      return 0;
    }
  }
  const absl::Duration debt = peers_.Spend(connection->peer, 0, now_);
  if (debt == absl::ZeroDuration()) return kPieceIn;
  const double always = connection->always.Available(now_);
  if (always >= kLeastPiece) return static_cast<size_t>(std::min<double>(kPieceIn, always));
  Pause(connection, std::min(debt, kPeerPause));
  return 0;
}

void Relay::Spend(Connection* connection, size_t bytes) {
  const auto amount = static_cast<double>(bytes);
  if (connection->always.Available(now_) >= amount) {
    connection->always.Charge(amount, now_);
  } else {
    peers_.Spend(connection->peer, amount, now_);
  }
  const absl::Duration wait = connection->budget.Charge(amount, now_);
  if (wait > absl::ZeroDuration()) Pause(connection, wait);
}

void Relay::Pause(Connection* connection, absl::Duration wait) {
  refusals_->Count(Refusal::kInboundRate);
  connection->read_at = now_ + wait;
  timers_.emplace(connection->read_at, connection->id);
}

void Relay::MoveOut(Connection* connection) {
  std::string& waiting = connection->to_client;
  for (int piece = 0; piece < kPiecesOut; ++piece) {
    if (!waiting.empty()) {
      const ssize_t sent = SendSome(connection->client.get(), waiting);
      if (sent < 0) {
        Close(connection);
        return;
      }
      Consume(&waiting, static_cast<size_t>(sent));
      if (!waiting.empty()) break;
    }
    if (connection->server_ended) break;
    const ssize_t size = ReceiveSome([&] {
      return recv(connection->server.get(), buffer_.data(), buffer_.size(), MSG_DONTWAIT);
    });
    if (size < 0) break;
    if (size == 0) {
      FinishOut(connection);
      return;
    }
    const absl::string_view bytes(buffer_.data(), static_cast<size_t>(size));
    const ssize_t sent = SendSome(connection->client.get(), bytes);
    if (sent < 0) {
      Close(connection);
      return;
    }
    waiting = std::string(bytes.substr(static_cast<size_t>(sent)));
    // Less than the buffer: nothing more waits now, and epoll reports what comes later.
    if (bytes.size() < buffer_.size() / 2 && !connection->server_hung_up) break;
  }
  UpdateInterest(connection);
}

void Relay::StartLinger(Connection* connection) {
  if (connection->close_at != absl::InfiniteDuration()) return;
  connection->close_at = now_ + kLinger;
  timers_.emplace(connection->close_at, connection->id);
}

void Relay::FinishOut(Connection* connection) {
  connection->server_ended = true;
  StartLinger(connection);
  if (connection->client_ended) {
    Close(connection);
    return;
  }
  // To close while the client sends would take from it what was sent last (RFC 1122, 4.2.2.13).
  shutdown(connection->client.get(), SHUT_WR);
  UpdateInterest(connection);
}

void Relay::UpdateInterest(Connection* connection) {
  const auto update = [this, connection](int fd, Side side, uint32_t wanted, uint32_t* current) {
    if (wanted == *current) return;
    *current = wanted;
    epoll_event event{.events = wanted, .data = {.u64 = connection->id * kSides + side}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, fd, &event);
  };
  const bool in_waits = !connection->to_server.empty();
  const bool out_waits = !connection->to_client.empty();
  uint32_t client = 0;
  if (!in_waits && !connection->client_ended && connection->read_at <= now_) client |= EPOLLIN;
  // A server that has hung up is not watched: its rest is read as fast as the client takes it.
  if (out_waits || (connection->server_hung_up && !connection->server_ended)) client |= EPOLLOUT;
  update(connection->client.get(), kClient, client, &connection->client_interest);
  if (connection->server_hung_up) return;
  uint32_t server = 0;
  if (!out_waits && !connection->server_ended) server |= EPOLLIN;
  if (in_waits) server |= EPOLLOUT;
  update(connection->server.get(), kServer, server, &connection->server_interest);
}

void Relay::HandleTimers() {
  while (!timers_.empty() && timers_.begin()->first <= now_) {
    Connection* const connection = Find(timers_.begin()->second);
    timers_.erase(timers_.begin());
    if (connection == nullptr) continue;
    if (connection->close_at <= now_) {
      Close(connection);
    } else {
      UpdateInterest(connection);
    }
  }
}

void Relay::HandleCuts() {
  std::vector<Id> cuts;
  {
    const MutexLock lock(&mutex_);
    cuts.swap(cuts_);
  }
  for (const Id id : cuts) {
    if (Connection* const connection = Find(id)) Close(connection);
  }
}

void Relay::EndAll() {
  for (const auto& [id, connection] : connections_) {
    shutdown(connection->server.get(), SHUT_WR);
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
  timers_.erase({connection->read_at, id});
  timers_.erase({connection->close_at, id});
  connections_.erase(id);
  ended_(id);
}

}  // namespace vmeventd
