#include "server/metrics/metrics_server.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/system.h"
#include "prometheus/text_serializer.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr size_t kMaxRequestBytes = 8 << 10;
// Pause of accepting when the process is out of descriptors.
constexpr absl::Duration kDescriptorPause = absl::Milliseconds(100);
constexpr size_t kMaxDrainedBytes = 64 << 10;
constexpr absl::string_view kEndOfHeaders = "\r\n\r\n";
constexpr absl::string_view kPlainText = "text/plain; charset=utf-8";

std::string Response(absl::string_view status, absl::string_view headers, absl::string_view type,
                     absl::string_view body, bool with_body) {
  return absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Type: ", type,
                      "\r\nContent-Length: ", body.size(),
                      "\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store"
                      "\r\nConnection: close\r\n",
                      headers, "\r\n", with_body ? body : "");
}

// Answers a probe of `target`, as "/readyz?service=journal".
std::string AnswerProbe(absl::string_view target, const Health& health, bool with_body) {
  std::string service;
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(target, absl::MaxSplits('?', 1));
  for (const absl::string_view parameter : absl::StrSplit(parts.second, '&')) {
    if (absl::StartsWith(parameter, "service=")) service = std::string(parameter.substr(8));
  }
  const auto answer = [&](absl::string_view status, absl::string_view text) {
    return Response(status, "", kPlainText, absl::StrCat(text, "\n"), with_body);
  };
  // The daemon answers, which is all that /healthz asks unless it names a service.
  if (parts.first == "/healthz" && service.empty()) return answer("200 OK", "alive");
  const std::optional<bool> serving = health.IsServing(service);
  if (!serving.has_value()) return answer("404 Not Found", "no service has this name");
  return *serving ? answer("200 OK", "serving") : answer("503 Service Unavailable", "not serving");
}

// The answer to a request whose headers are complete.
std::string Answer(absl::string_view request, const prometheus::Collectable& metrics,
                   const Health& health) {
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
  const absl::string_view path = parts[1].substr(0, parts[1].find('?'));
  if (path == "/healthz" || path == "/readyz") return AnswerProbe(parts[1], health, !head);
  if (path != "/metrics") {
    return Response("404 Not Found", "", kPlainText,
                    "metrics are at /metrics, probes at /healthz and /readyz\n", !head);
  }
  return Response("200 OK", "", "text/plain; version=0.0.4; charset=utf-8",
                  prometheus::TextSerializer().Serialize(metrics.Collect()), !head);
}

}  // namespace

// Reads its request, sends the answer, then waits for the client to close: closing first could
// discard the answer.
struct MetricsServer::Connection : FdHandler {
  Connection(MetricsServer* of, UniqueFd connected) : server(of), fd(std::move(connected)) {}
  void OnFdReady(uint32_t /*events*/) override { server->Advance(this); }

  bool answering() const { return !answer.empty(); }
  bool sent_all() const { return answering() && sent == answer.size(); }

  MetricsServer* const server;
  const UniqueFd fd;
  TimerId timer;
  std::string request;
  std::string answer;
  size_t sent = 0;
  size_t drained = 0;
};

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Create(
    const ListenAddress& address, const prometheus::Collectable* metrics, const Health* health,
    RefusalCounters* refusals, const Clock* clock, const MetricsServerLimits& limits) {
  absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Create(clock);
  if (!loop.ok()) return loop.status();
  std::unique_ptr<MetricsServer> server(
      new MetricsServer(address, metrics, health, refusals, *std::move(loop), limits));
  // The first attempt, so that the port that the kernel chose is known. Later ones are the
  // thread's.
  server->Listen();
  server->address_ = server->listener_.address();
  if (server->listener_.socket() != nullptr) {
    spdlog::info("metrics at http://{}/metrics", server->address_.ToString());
  }
  server->thread_ = std::thread([of = server.get()] {
    SetThreadName("metrics");
    while (!of->stopped_) of->loop_->RunOnce(absl::InfiniteDuration());
  });
  return server;
}

MetricsServer::MetricsServer(const ListenAddress& address, const prometheus::Collectable* metrics,
                             const Health* health, RefusalCounters* refusals,
                             std::unique_ptr<EventLoop> loop, const MetricsServerLimits& limits)
    : metrics_(metrics),
      health_(health),
      refusals_(refusals),
      limits_(limits),
      loop_(std::move(loop)),
      listener_("the metrics' server", address) {}

MetricsServer::~MetricsServer() {
  loop_->Post([this] { stopped_ = true; });
  thread_.join();
}

void MetricsServer::Listen() {
  const absl::Duration now = loop_->Now().monotonic;
  absl::Duration again = now + kDescriptorPause;
  if (listener_.Try(now).ok()) {
    if (loop_->Add(listener_.socket()->fd(), EPOLLIN, this).ok()) return;
  } else {
    again = listener_.due();
  }
  loop_->AddTimer(again, [this] { Listen(); });
}

void MetricsServer::OnFdReady(uint32_t /*events*/) {
  const int listener = listener_.socket()->fd();
  UniqueFd fd(accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  if (!fd.valid()) {
    if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS && errno != ENOMEM) return;
    // epoll would report the listening socket forever. Closing one of our connections makes room;
    // without any, pause accepting.
    refusals_->Count(Refusal::kDescriptors);
    if (!connections_.empty()) return Evict(&connections_.front());
    loop_->Modify(listener, 0);
    loop_->AddTimer(loop_->Now().monotonic + kDescriptorPause,
                    [this, listener] { loop_->Modify(listener, EPOLLIN); });
    return;
  }
  if (connections_.size() >= limits_.connections) Evict(&connections_.front());
  Connection* const connection = &connections_.emplace_back(this, std::move(fd));
  connection->timer = loop_->AddTimer(loop_->Now().monotonic + limits_.time,
                                      [this, connection] { Close(connection); });
  if (!loop_->Add(connection->fd.get(), EPOLLIN, connection).ok()) Close(connection);
}

void MetricsServer::Close(Connection* connection) {
  loop_->CancelTimer(&connection->timer);
  loop_->Remove(connection->fd.get());
  connections_.remove_if([connection](const Connection& open) { return &open == connection; });
}

void MetricsServer::Advance(Connection* connection) {
  if ((!connection->answering() && !Read(connection)) ||
      (connection->answering() && !connection->sent_all() && !Write(connection)) ||
      (connection->sent_all() && !Drain(connection))) {
    return Close(connection);
  }
  const bool writes = connection->answering() && !connection->sent_all();
  loop_->Modify(connection->fd.get(), writes ? EPOLLOUT : EPOLLIN);
}

bool MetricsServer::Read(Connection* connection) const {
  char bytes[4096];
  const ssize_t size = recv(connection->fd.get(), bytes, sizeof(bytes), 0);
  if (size <= 0) return size < 0 && (errno == EAGAIN || errno == EINTR);
  connection->request.append(bytes, static_cast<size_t>(size));
  if (connection->request.size() > kMaxRequestBytes) {
    connection->answer = Response("431 Request Header Fields Too Large", "", kPlainText,
                                  "the request has too many bytes\n", true);
  } else if (absl::StrContains(connection->request, kEndOfHeaders)) {
    connection->answer = Answer(connection->request, *metrics_, *health_);
  }
  return true;
}

bool MetricsServer::Write(Connection* connection) {
  const absl::string_view rest = absl::string_view(connection->answer).substr(connection->sent);
  const ssize_t size = send(connection->fd.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
  if (size < 0) return errno == EAGAIN || errno == EINTR;
  connection->sent += static_cast<size_t>(size);
  if (connection->sent_all()) shutdown(connection->fd.get(), SHUT_WR);
  return true;
}

bool MetricsServer::Drain(Connection* connection) {
  char bytes[4096];
  const ssize_t size = recv(connection->fd.get(), bytes, sizeof(bytes), 0);
  if (size <= 0) return size < 0 && (errno == EAGAIN || errno == EINTR);
  connection->drained += static_cast<size_t>(size);
  return connection->drained <= kMaxDrainedBytes;
}

}  // namespace vmeventd
