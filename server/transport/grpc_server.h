#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "grpcpp/grpcpp.h"
#include "server/access/access_policy.h"
#include "server/access/clients.h"
#include "server/access/refusals.h"
#include "server/config/listen_address.h"
#include "server/config/tls_files.h"
#include "server/rpc/call_gate.h"
#include "server/rpc/call_service.h"
#include "server/rpc/health_service.h"
#include "server/rpc/service_methods.h"
#include "server/transport/arrivals.h"
#include "server/transport/connection_acceptor.h"
#include "watcher/core/service_health.h"

namespace vmeventd {

struct GrpcServerOptions {
  std::vector<ListenAddress> addresses;
  TlsFiles* tls = nullptr;             // files of every TCP address; null: plain TCP
  std::vector<std::string> operators;  // names in certificates; see AccessPolicy
  int max_connections = 4'000;         // limit of each address
  ArrivalLimits arrivals;              // limits of each address
  CallLimits calls;                    // limits of each address
  double list_rate = 200;              // per second and peer, for all lists together
  RelayLimits relay;                   // what clients may send
  std::vector<ServiceHealth> health;   // of the other parts of the daemon, at first
};

// The listening gRPC server: the service, health and reflection on each address. Removes the Unix
// sockets when it is shut down. Any thread.
class GrpcServer {
 public:
  // Listens on the addresses. Retries one that fails until it succeeds; ALREADY_EXISTS if another
  // process listens on a Unix socket. The pointers, and options.tls, outlive the server. At first
  // the daemon and its gRPC service are NOT_SERVING. "listen" is SERVING while all addresses are
  // listened on.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(GrpcServerOptions options,
                                                           ServiceMethods* service,
                                                           RefusalCounters* refusals,
                                                           const Clock* clock);
  ~GrpcServer();
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  // The health service, to which the daemon and its other parts report theirs.
  Health& health() { return health_; }

  // Calls `done` once the acceptor's and the relay's thread have had a turn. Any thread.
  void CallInTurn(std::function<void()> done) { acceptor_->CallInTurn(std::move(done)); }

  // Stops listening, answers calls with UNAVAILABLE, waits for those under way, and ends what is
  // still open after `timeout` and a little more.
  void Shutdown(absl::Duration timeout);

  // States of the listeners, in the order of the options.
  std::vector<ListenerState> listeners() const { return acceptor_->listeners(); }
  // Number of closed client connections whose sockets wait to be closed.
  size_t sockets_to_close() const { return acceptor_->sockets_to_close(); }
  // Number of open calls, of all methods.
  int open_calls() const { return clients_.open_calls(); }

 private:
  GrpcServer(GrpcServerOptions options, ServiceMethods* service, RefusalCounters* refusals,
             const Clock* clock);
  absl::Status Start();
  // Reports the health service "listen".
  void ReportListening();

  const GrpcServerOptions options_;
  ServiceMethods* const service_;
  RefusalCounters* const refusals_;
  const Clock* const clock_;
  Clients clients_;
  CallGate gate_;
  Health health_;
  CallService methods_{&gate_};
  std::unique_ptr<AccessPolicy> policy_;
  std::unique_ptr<grpc::experimental::ExternalConnectionAcceptor> connections_;
  std::unique_ptr<grpc::Server> server_;  // uses the others
  std::unique_ptr<ConnectionAcceptor> acceptor_;
  std::thread acceptor_thread_;
  std::thread relay_thread_;
};

}  // namespace vmeventd
