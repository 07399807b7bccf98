#pragma once

#include <memory>
#include <thread>

#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "prometheus/collectable.h"
#include "server/access/refusals.h"
#include "server/config/listen_address.h"
#include "server/transport/listen_socket.h"

namespace vmeventd {

struct MetricsServerLimits {
  int connections = 64;
  int connections_of_peer = 16;  // see Clients
  // From accepting the connection to the client's close after the last byte of the answer.
  absl::Duration time = absl::Seconds(5);
};

// Serves GET and HEAD of /metrics over HTTP/1.1, in Prometheus' text format, until destroyed: one
// request a connection. Other paths get 404, other methods 405. One thread serves all and never
// blocks on a client: a connection beyond a limit closes the oldest, of its peer or of all, so that
// stalled clients lock nobody out.
class MetricsServer {
 public:
  // The pointers must outlive the server; its thread reads `metrics`. Tries again until it can
  // listen on the address.
  MetricsServer(const ListenAddress& address, const prometheus::Collectable* metrics,
                RefusalCounters* refusals, const MetricsServerLimits& limits = {});
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  // The address, with the port that the kernel chose if it could listen at once.
  const ListenAddress& address() const { return address_; }

 private:
  class Loop;

  ListenAttempts socket_;  // the thread's, once there is one
  ListenAddress address_;
  const UniqueFd stop_;  // an eventfd
  const std::unique_ptr<Loop> loop_;
  std::thread thread_;  // last: it uses the rest
};

}  // namespace vmeventd
