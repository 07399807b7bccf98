#pragma once

#include <cstddef>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <thread>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/unique_fd.h"
#include "server/access/refusals.h"
#include "server/config/listen_address.h"
#include "server/rpc/health_service.h"
#include "server/transport/accepting_socket.h"

namespace vmeventd {

struct MetricsServerOptions {
  ListenAddress address;
  std::function<std::string()> metrics;  // called by the server's thread
  const Health* health;                  // read by the server's thread
  RefusalCounters* refusals;
  size_t connections = 64;
  // Time limit from accepting the connection to the client's close after the last byte of the
  // answer.
  absl::Duration time = absl::Seconds(5);
};

// Serves GET and HEAD of /metrics over HTTP/1.1, and of the probes /healthz and /readyz, until
// destroyed: one request a connection. Other paths get 404, other methods 405. One thread serves
// all and never blocks on a client: a connection beyond the limit closes the oldest, so that
// stalled clients lock nobody out.
class MetricsServer {
 public:
  // All pointers must outlive the server. Retries until it can listen on the address. The error is
  // the system's: out of descriptors.
  static absl::StatusOr<std::unique_ptr<MetricsServer>> Create(MetricsServerOptions options,
                                                               const Clock* clock);
  ~MetricsServer();
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;

  // The address, with the port that the kernel chose if it could listen at once.
  const ListenAddress& address() const { return address_; }

 private:
  struct Connection;

  MetricsServer(MetricsServerOptions options, std::unique_ptr<EventLoop> loop);
  void OnAccepted(UniqueFd fd);
  void OnOutOfDescriptors();
  void Evict(Connection* connection) {
    options_.refusals->Count(Refusal::kScrapes);
    Close(connection);
  }
  void Close(Connection* connection);
  std::string Answer(const std::string& request) const;
  // Reads the request, or sends the answer, as far as that is possible now. False: close it.
  bool Advance(Connection* connection) const;

  const MetricsServerOptions options_;
  ListenAddress address_;

  // Used by the thread alone, once it runs.
  const std::unique_ptr<EventLoop> loop_;
  AcceptingSocket listener_;
  std::list<Connection> connections_;  // oldest first
  bool stopped_ = false;
  std::thread thread_;
};

}  // namespace vmeventd
