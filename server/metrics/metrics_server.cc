#include "server/metrics/metrics_server.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/thread_name.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr size_t kMaxRequestBytes = 8 << 10;
constexpr absl::string_view kEndOfHeaders = "\r\n\r\n";

std::string Response(absl::string_view status, absl::string_view body, bool with_body = true,
                     absl::string_view type = "text/plain; charset=utf-8") {
  return absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Type: ", type,
                      "\r\nContent-Length: ", body.size(),
                      "\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store"
                      "\r\nAllow: GET, HEAD\r\nConnection: close\r\n\r\n",
                      with_body ? body : "");
}

// Answers a probe of `target`, such as "/readyz?service=journal".
std::string AnswerProbe(absl::string_view target, const Health& health, bool with_body) {
  std::string service;
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(target, absl::MaxSplits('?', 1));
  for (const absl::string_view parameter : absl::StrSplit(parts.second, '&')) {
    if (absl::StartsWith(parameter, "service=")) service = std::string(parameter.substr(8));
  }
  const auto answer = [&](absl::string_view status, absl::string_view text) {
    return Response(status, absl::StrCat(text, "\n"), with_body);
  };
  // The daemon answers, which is all that /healthz asks unless it names a service.
  if (parts.first == "/healthz" && service.empty()) return answer("200 OK", "alive");
  const std::optional<bool> serving = health.IsServing(service);
  if (!serving.has_value()) return answer("404 Not Found", "no service has this name");
  return *serving ? answer("200 OK", "serving") : answer("503 Service Unavailable", "not serving");
}

}  // namespace

// Reads its request, sends the answer, then waits for the client to close: closing first could
// discard the answer.
struct MetricsServer::Connection : FdHandler {
  Connection(MetricsServer* of, UniqueFd connected) : server(of), fd(std::move(connected)) {}
  void OnFdReady(uint32_t /*events*/) override {
    if (!server->Advance(this)) return server->Close(this);
    server->loop_->Modify(fd.get(), unsent.empty() ? EPOLLIN : EPOLLOUT);
  }

  MetricsServer* const server;
  const UniqueFd fd;
  TimerId timer;
  std::string request;
  std::string unsent;  // rest of the answer
  bool answered = false;
};

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Create(MetricsServerOptions options,
                                                                     const Clock* clock) {
  absl::StatusOr<std::unique_ptr<EventLoop>> loop = EventLoop::Create(clock);
  if (!loop.ok()) return loop.status();
  std::unique_ptr<MetricsServer> server(new MetricsServer(std::move(options), *std::move(loop)));
  // The first attempt, so that the port that the kernel chose is known. The thread makes
  // later ones.
  server->listener_.Listen().IgnoreError();  // it has been logged
  server->address_ = server->listener_.address();
  if (server->listener_.listening()) {
    spdlog::info("metrics at http://{}/metrics", server->address_.ToString());
  }
  server->thread_ = std::thread([of = server.get()] {
    SetThreadName("metrics");
    while (!of->stopped_) of->loop_->RunOnce(absl::InfiniteDuration());
  });
  return server;
}

MetricsServer::MetricsServer(MetricsServerOptions options, std::unique_ptr<EventLoop> loop)
    : options_(std::move(options)),
      loop_(std::move(loop)),
      listener_("the metrics' server", options_.address, loop_.get(),
                {.accepted = [this](UniqueFd fd) { OnAccepted(std::move(fd)); },
                 .out_of_descriptors = [this] { OnOutOfDescriptors(); }}) {}

MetricsServer::~MetricsServer() {
  loop_->Post([this] { stopped_ = true; });
  thread_.join();
}

void MetricsServer::OnOutOfDescriptors() {
  options_.refusals->Count(Refusal::kDescriptors);
  if (!connections_.empty()) Evict(&connections_.front());  // that makes room
}

void MetricsServer::OnAccepted(UniqueFd fd) {
  if (connections_.size() >= options_.connections) Evict(&connections_.front());
  Connection* const connection = &connections_.emplace_back(this, std::move(fd));
  connection->timer = loop_->AddTimer(loop_->Now().monotonic + options_.time,
                                      [this, connection] { Close(connection); });
  if (!loop_->Add(connection->fd.get(), EPOLLIN, connection).ok()) Close(connection);
}

void MetricsServer::Close(Connection* connection) {
  loop_->CancelTimer(&connection->timer);
  loop_->Remove(connection->fd.get());
  connections_.remove_if([connection](const Connection& open) { return &open == connection; });
}

std::string MetricsServer::Answer(const std::string& request) const {
  if (request.size() > kMaxRequestBytes) {
    return Response("431 Request Header Fields Too Large", "the request has too many bytes\n");
  }
  const std::vector<std::string> parts =
      absl::StrSplit(request.substr(0, request.find("\r\n")), ' ');
  if (parts.size() != 3 || !absl::StartsWith(parts[2], "HTTP/1.") ||
      !absl::StartsWith(parts[1], "/")) {
    return Response("400 Bad Request", "not an HTTP/1.1 request\n");
  }
  const bool get = parts[0] == "GET";
  if (!get && parts[0] != "HEAD") return Response("405 Method Not Allowed", "only GET and HEAD\n");
  const std::string path = parts[1].substr(0, parts[1].find('?'));
  if (path == "/healthz" || path == "/readyz") return AnswerProbe(parts[1], *options_.health, get);
  if (path == "/metrics") {
    return Response("200 OK", options_.metrics(), get, "text/plain; version=0.0.4; charset=utf-8");
  }
  return Response("404 Not Found", "metrics are at /metrics, probes at /healthz and /readyz\n",
                  get);
}

bool MetricsServer::Advance(Connection* connection) const {
  const auto retry = [](ssize_t size) {
    return size > 0 || (size < 0 && (errno == EAGAIN || errno == EINTR));
  };
  const int fd = connection->fd.get();
  if (connection->unsent.empty()) {
    char bytes[4096];
    const ssize_t size = recv(fd, bytes, sizeof(bytes), 0);
    if (size <= 0 || connection->answered) return retry(size);
    std::string& request = connection->request;
    request.append(bytes, static_cast<size_t>(size));
    if (request.size() <= kMaxRequestBytes && !absl::StrContains(request, kEndOfHeaders)) {
      return true;
    }
    connection->unsent = Answer(request);
    connection->answered = true;
  }
  const ssize_t size = send(fd, connection->unsent.data(), connection->unsent.size(), MSG_NOSIGNAL);
  if (size <= 0) return retry(size);
  connection->unsent.erase(0, static_cast<size_t>(size));
  if (connection->unsent.empty()) shutdown(fd, SHUT_WR);
  return true;
}

}  // namespace vmeventd
