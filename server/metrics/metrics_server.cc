#include "server/metrics/metrics_server.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <list>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/thread_name.h"
#include "base/unique_fd.h"
#include "prometheus/text_serializer.h"
#include "server/access/clients.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

using Steady = std::chrono::steady_clock;

constexpr size_t kMaxRequestBytes = 8 << 10;
// Pause of accepting when the process is out of descriptors.
constexpr std::chrono::milliseconds kDescriptorPause(100);
constexpr size_t kMaxDrainedBytes = 64 << 10;
constexpr absl::string_view kEndOfHeaders = "\r\n\r\n";
constexpr absl::string_view kPlainText = "text/plain; charset=utf-8";

absl::Duration SinceEpoch(Steady::time_point time) {
  return absl::FromChrono(time.time_since_epoch());
}

// The first attempt, so that the port that the kernel chose is known. Later ones are the thread's.
const ListenAddress& OpenFirst(ListenAttempts* socket) {
  if (socket->Try(SinceEpoch(Steady::now())).ok()) {
    spdlog::info("metrics at http://{}/metrics", socket->address().ToString());
  }
  return socket->address();
}

std::string Response(absl::string_view status, absl::string_view headers, absl::string_view type,
                     absl::string_view body, bool with_body) {
  return absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Type: ", type,
                      "\r\nContent-Length: ", body.size(),
                      "\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store"
                      "\r\nConnection: close\r\n",
                      headers, "\r\n", with_body ? body : "");
}

// The answer to a request whose headers are complete.
std::string Answer(absl::string_view request, const prometheus::Collectable& metrics) {
  const absl::string_view line = request.substr(0, request.find("\r\n"));
  const std::vector<absl::string_view> parts = absl::StrSplit(line, ' ');
  if (parts.size() != 3 || !absl::StartsWith(parts[2], "HTTP/1.") ||
      !absl::StartsWith(parts[1], "/")) {
    return Response("400 Bad Request", "", kPlainText, "not an HTTP/1.1 request\n", true);
  }
  const absl::string_view method = parts[0];
  const bool head = method == "HEAD";
  if (!head && method != "GET") {
    return Response("405 Method Not Allowed", "Allow: GET, HEAD\r\n", kPlainText,
                    "only GET and HEAD\n", true);
  }
  if (parts[1].substr(0, parts[1].find('?')) != "/metrics") {
    return Response("404 Not Found", "", kPlainText, "metrics are at /metrics\n", !head);
  }
  return Response("200 OK", "", "text/plain; version=0.0.4; charset=utf-8",
                  prometheus::TextSerializer().Serialize(metrics.Collect()), !head);
}

}  // namespace

class MetricsServer::Loop {
 public:
  Loop(ListenAttempts* listener, int stop, const prometheus::Collectable* metrics,
       RefusalCounters* refusals, const MetricsServerLimits& limits)
      : listener_(listener), stop_(stop), metrics_(metrics), refusals_(refusals), limits_(limits) {}

  void Run() {
    while (RunOnce()) {
    }
  }

 private:
  // Reads its request, sends the answer, then waits for the client to close: closing first could
  // discard the answer.
  struct Connection {
    UniqueFd fd;
    std::string peer;
    Steady::time_point end;
    std::string request;
    std::string answer;
    size_t sent = 0;
    size_t drained = 0;

    bool answering() const { return !answer.empty(); }
    bool sent_all() const { return answering() && sent == answer.size(); }
  };
  using Place = std::list<Connection>::iterator;

  // False: the server was stopped.
  bool RunOnce() {
    const Steady::time_point start = Steady::now();
    if (listener_->socket() == nullptr && !listener_->Try(SinceEpoch(start)).ok()) {
      // Exactly, or a turn that came before it would wait for nothing.
      accept_at_ = start + absl::ToChronoNanoseconds(listener_->due() - SinceEpoch(start));
    }
    // poll ignores a negative descriptor.
    const int listener = listener_->socket() == nullptr ? -1 : listener_->socket()->fd();
    const bool accepts = accept_at_ <= start;
    std::vector<pollfd> waiting = {{stop_, POLLIN, 0},
                                   {listener, static_cast<int16_t>(accepts ? POLLIN : 0), 0}};
    std::vector<Place> places;
    for (auto it = connections_.begin(); it != connections_.end(); ++it) {
      const bool writes = it->answering() && !it->sent_all();
      waiting.push_back({it->fd.get(), static_cast<int16_t>(writes ? POLLOUT : POLLIN), 0});
      places.push_back(it);
    }
    poll(waiting.data(), waiting.size(), Timeout(start));
    if (waiting[0].revents != 0) return false;
    for (size_t i = 0; i < places.size(); ++i) {
      if (waiting[i + 2].revents != 0 && !Advance(&*places[i])) connections_.erase(places[i]);
    }
    const Steady::time_point now = Steady::now();
    connections_.remove_if([now](const Connection& open) { return open.end <= now; });
    if (waiting[1].revents != 0) Accept();
    return true;
  }

  // In milliseconds, until the oldest connection, which is the first, times out, or accepting,
  // which did not wait at `start`, resumes.
  int Timeout(Steady::time_point start) const {
    const Steady::time_point now = Steady::now();
    Steady::time_point next = Steady::time_point::max();
    if (!connections_.empty()) next = connections_.front().end;
    if (accept_at_ > start) next = std::min(next, accept_at_);
    if (next == Steady::time_point::max()) return -1;
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(next - now);
    return static_cast<int>(std::max<int64_t>(0, left.count()));
  }

  void Accept() {
    const int listener = listener_->socket()->fd();
    UniqueFd fd(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd.valid()) {
      if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) return;
      // poll would report the listening socket forever. Closing one of our connections makes room;
      // without any, pause accepting.
      refusals_->Count(Refusal::kDescriptors);
      if (!connections_.empty()) {
        Evict(connections_.begin());
      } else {
        accept_at_ = Steady::now() + kDescriptorPause;
      }
      return;
    }
    std::string peer = PeerOfSocket(fd.get());
    MakeRoom(peer);
    const auto time =
        std::chrono::duration_cast<Steady::duration>(absl::ToChronoNanoseconds(limits_.time));
    connections_.push_back({std::move(fd), std::move(peer), Steady::now() + time, "", ""});
  }

  // Closes the oldest connection if there are too many.
  void MakeRoom(const std::string& peer) {
    const auto same = [&peer](const Connection& open) { return open.peer == peer; };
    const auto of_peer = std::count_if(connections_.begin(), connections_.end(), same);
    if (of_peer >= limits_.connections_of_peer) {
      Evict(std::find_if(connections_.begin(), connections_.end(), same));
    } else if (static_cast<int>(connections_.size()) >= limits_.connections) {
      Evict(connections_.begin());
    }
  }

  void Evict(Place place) {
    refusals_->Count(Refusal::kScrapes);
    connections_.erase(place);
  }

  // Makes what progress is possible now. False: close the connection.
  bool Advance(Connection* connection) const {
    if (!connection->answering() && !Read(connection)) return false;
    if (connection->answering() && !connection->sent_all() && !Write(connection)) return false;
    return !connection->sent_all() || Drain(connection);
  }

  bool Read(Connection* connection) const {
    char bytes[4096];
    const ssize_t size = recv(connection->fd.get(), bytes, sizeof(bytes), 0);
    if (size <= 0) return size < 0 && (errno == EAGAIN || errno == EINTR);
    connection->request.append(bytes, static_cast<size_t>(size));
    if (connection->request.size() > kMaxRequestBytes) {
      connection->answer = Response("431 Request Header Fields Too Large", "", kPlainText,
                                    "the request has too many bytes\n", true);
    } else if (absl::StrContains(connection->request, kEndOfHeaders)) {
      connection->answer = Answer(connection->request, *metrics_);
    }
    return true;
  }

  static bool Write(Connection* connection) {
    const absl::string_view rest = absl::string_view(connection->answer).substr(connection->sent);
    const ssize_t size = send(connection->fd.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
    if (size < 0) return errno == EAGAIN || errno == EINTR;
    connection->sent += static_cast<size_t>(size);
    if (connection->sent_all()) shutdown(connection->fd.get(), SHUT_WR);
    return true;
  }

  // Discards what follows the request. False: the client closed or sent too much.
  static bool Drain(Connection* connection) {
    char bytes[4096];
    const ssize_t size = recv(connection->fd.get(), bytes, sizeof(bytes), 0);
    if (size <= 0) return size < 0 && (errno == EAGAIN || errno == EINTR);
    connection->drained += static_cast<size_t>(size);
    return connection->drained <= kMaxDrainedBytes;
  }

  ListenAttempts* const listener_;
  const int stop_;
  const prometheus::Collectable* const metrics_;
  RefusalCounters* const refusals_;
  const MetricsServerLimits limits_;
  std::list<Connection> connections_;  // oldest first
  Steady::time_point accept_at_ = Steady::time_point::min();
};

MetricsServer::MetricsServer(const ListenAddress& address, const prometheus::Collectable* metrics,
                             RefusalCounters* refusals, const MetricsServerLimits& limits)
    : socket_("the metrics' server", address),
      address_(OpenFirst(&socket_)),
      stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      loop_(std::make_unique<Loop>(&socket_, stop_.get(), metrics, refusals, limits)),
      thread_([loop = loop_.get()] {
        SetThreadName("metrics");
        loop->Run();
      }) {}

MetricsServer::~MetricsServer() {
  // Fails only if it is already set.
  static_cast<void>(eventfd_write(stop_.get(), 1));
  thread_.join();
}

}  // namespace vmeventd
