#ifndef VMEVENTD_SERVER_METRICS_SERVER_H_
#define VMEVENTD_SERVER_METRICS_SERVER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "prometheus/collectable.h"
#include "server/listen_address.h"

class CivetServer;

namespace vmeventd {

// Answers GET and HEAD of /metrics by HTTP, in Prometheus' text format, until it is destroyed; that
// waits for answers under way, at most a few seconds for clients that do not read. Everything else
// is 404, another method 405. A few connections are served at a time, and one that does not send
// its request or does not read its answer is closed after kTimeout, so that it keeps nobody out for
// long.
class MetricsServer {
 public:
  static constexpr int kThreads = 4;
  static constexpr int kTimeoutMs = 2000;

  // `metrics` outlives the server and is asked on its threads. The error names the address and why
  // nothing can be served there.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Start(
      const ListenAddress& address, const prometheus::Collectable* metrics);
  ~MetricsServer();

  // Where it listens, with the port that the kernel chose.
  const ListenAddress& address() const { return address_; }

 private:
  class Handler;
  MetricsServer(ListenAddress address, const prometheus::Collectable* metrics);

  ListenAddress address_;
  const std::unique_ptr<Handler> handler_;
  std::unique_ptr<CivetServer> server_;  // after what it uses
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_METRICS_SERVER_H_
