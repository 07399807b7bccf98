#include "server/metrics_server.h"

#include <CivetServer.h>

#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "prometheus/text_serializer.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

constexpr char kPath[] = "/metrics";

void Answer(mg_connection* connection, absl::string_view status, absl::string_view headers,
            absl::string_view type, const std::string& body, bool with_body) {
  // One write: a client that stops reading is waited for once.
  std::string answer = absl::StrCat("HTTP/1.1 ", status, "\r\nContent-Type: ", type,
                                    "\r\nContent-Length: ", body.size(),
                                    "\r\nX-Content-Type-Options: nosniff\r\nCache-Control: no-store"
                                    "\r\nConnection: close\r\n",
                                    headers, "\r\n");
  if (with_body) answer += body;
  mg_write(connection, answer.data(), answer.size());
}

int LogOfCivetweb(const mg_connection*, const char* message) {
  spdlog::debug("metrics: {}", message);
  return 1;  // it needs to go nowhere else
}

// What it cannot understand, or does not come in time. Its own page has a date, which it makes by
// gmtime(3) on several threads at once.
int AnswerError(mg_connection* connection, int status, const char* message) {
  Answer(connection, absl::StrCat(status, " ", mg_get_response_code_text(connection, status)), "",
         "text/plain; charset=utf-8", absl::StrCat(message, "\n"), true);
  return 0;  // answered
}

}  // namespace

class MetricsServer::Handler : public CivetHandler {
 public:
  explicit Handler(const prometheus::Collectable* metrics) : metrics_(metrics) {}

  bool handleGet(CivetServer*, mg_connection* connection) override {
    return AnswerScrape(connection, true);
  }
  bool handleHead(CivetServer*, mg_connection* connection) override {
    return AnswerScrape(connection, false);
  }
  bool handlePost(CivetServer*, mg_connection* connection) override { return Refuse(connection); }
  bool handlePut(CivetServer*, mg_connection* connection) override { return Refuse(connection); }
  bool handleDelete(CivetServer*, mg_connection* connection) override { return Refuse(connection); }
  bool handlePatch(CivetServer*, mg_connection* connection) override { return Refuse(connection); }
  bool handleOptions(CivetServer*, mg_connection* connection) override {
    return Refuse(connection);
  }

 private:
  bool AnswerScrape(mg_connection* connection, bool with_body) {
    if (absl::string_view(mg_get_request_info(connection)->local_uri) != kPath) {
      Answer(connection, "404 Not Found", "", "text/plain; charset=utf-8",
             "metrics are at /metrics\n", with_body);
      return true;
    }
    Answer(connection, "200 OK", "", "text/plain; version=0.0.4; charset=utf-8",
           prometheus::TextSerializer().Serialize(metrics_->Collect()), with_body);
    return true;
  }

  static bool Refuse(mg_connection* connection) {
    Answer(connection, "405 Method Not Allowed", "Allow: GET, HEAD\r\n",
           "text/plain; charset=utf-8", "only GET and HEAD\n", true);
    return true;
  }

  const prometheus::Collectable* const metrics_;
};

MetricsServer::MetricsServer(ListenAddress address, const prometheus::Collectable* metrics)
    : address_(std::move(address)), handler_(std::make_unique<Handler>(metrics)) {}

MetricsServer::~MetricsServer() = default;

absl::StatusOr<std::unique_ptr<MetricsServer>> MetricsServer::Start(
    const ListenAddress& address, const prometheus::Collectable* metrics) {
  std::unique_ptr<MetricsServer> server(new MetricsServer(address, metrics));
  const std::vector<std::string> options = {"listening_ports",    address.ToString(),
                                            "num_threads",        absl::StrCat(kThreads),
                                            "request_timeout_ms", absl::StrCat(kTimeoutMs),
                                            "enable_keep_alive",  "no",
                                            "connection_queue",   "64"};
  CivetCallbacks callbacks;
  callbacks.log_message = LogOfCivetweb;
  callbacks.http_error = AnswerError;
  try {
    server->server_ = std::make_unique<CivetServer>(options, &callbacks);
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrCat(address.ToString(), ": the metrics cannot be served here: ", error.what()));
  }
  const std::vector<int> ports = server->server_->getListeningPorts();
  if (!ports.empty()) server->address_.port = static_cast<uint16_t>(ports.front());
  server->server_->addHandler("/", server->handler_.get());
  return server;
}

}  // namespace vmeventd
