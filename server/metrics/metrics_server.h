#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/system.h"
#include "prometheus/collectable.h"
#include "server/access/refusals.h"
#include "server/config/listen_address.h"
#include "server/rpc/standard_services.h"
#include "server/transport/listen_socket.h"

namespace vmeventd {

struct MetricsServerLimits {
  size_t connections = 64;
  // Time limit from accepting the connection to the client's close after the last byte of the
  // answer.
  absl::Duration time = absl::Seconds(5);
};

// Serves GET and HEAD of /metrics over HTTP/1.1, in Prometheus' text format, and of the probes
// /healthz and /readyz, until destroyed: one request a connection. Other paths get 404, other
// methods 405. One thread serves all and never blocks on a client: a connection beyond the limit
// closes the oldest, so that stalled clients lock nobody out.
class MetricsServer : private FdHandler {
 public:
  // The pointers must outlive the server; its thread reads `metrics` and `health`. Tries again
  // until it can listen on the address. The error is of the system, which is out of descriptors.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Create(
      const ListenAddress& address, const prometheus::Collectable* metrics, const Health* health,
      RefusalCounters* refusals, const Clock* clock, const MetricsServerLimits& limits = {});
  ~MetricsServer() override;
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  // The address, with the port that the kernel chose if it could listen at once.
  const ListenAddress& address() const { return address_; }

 private:
  struct Connection;

  MetricsServer(const ListenAddress& address, const prometheus::Collectable* metrics,
                const Health* health, RefusalCounters* refusals, std::unique_ptr<EventLoop> loop,
                const MetricsServerLimits& limits);

  // Opens the listening socket, now or later, and waits for connections.
  void Listen();
  void OnFdReady(uint32_t events) override;
  void Evict(Connection* connection) {
    refusals_->Count(Refusal::kScrapes);
    Close(connection);
  }
  void Close(Connection* connection);
  void Advance(Connection* connection);
  // False: close the connection.
  bool Read(Connection* connection) const;
  static bool Write(Connection* connection);
  // Discards what follows the request. False: the client closed or sent too much.
  static bool Drain(Connection* connection);

  const prometheus::Collectable* const metrics_;
  const Health* const health_;
  RefusalCounters* const refusals_;
  const MetricsServerLimits limits_;
  ListenAddress address_;

  // Belongs to the thread, once there is one.
  const std::unique_ptr<EventLoop> loop_;
  ListenAttempts listener_;
  std::list<Connection> connections_;  // oldest first
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace vmeventd
