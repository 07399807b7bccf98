#ifndef VMEVENTD_SERVER_GRPC_SERVER_H_
#define VMEVENTD_SERVER_GRPC_SERVER_H_

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "server/connection_acceptor.h"
#include "server/listen_address.h"
#include "server/rate_limiter.h"
#include "server/refusals.h"
#include "server/rpc_backend.h"
#include "server/tls_files.h"
#include "watcher/io/clock.h"

namespace vmeventd {

struct GrpcServerOptions {
  std::vector<ListenAddress> addresses;
  TlsFiles* tls = nullptr;             // for every TCP address; null: they are plain
  std::vector<std::string> operators;  // names in certificates; see CallGuard
  int max_connections = 4'000;         // of each address
  int max_streams_per_peer = 2'000;    // as the hub has it
  double list_rate = 200;              // ListEvents a second and peer
};

// The listening gRPC server: the service of the backend, health, reflection and channelz on each
// address. Removes the Unix sockets when it is shut down. Any thread.
class GrpcServer {
 public:
  // Listens on all of the addresses, or on none: the error names the one that failed. The pointers,
  // and options.tls, outlive the server. Health says NOT_SERVING at first.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(GrpcServerOptions options,
                                                           RpcBackend* backend, const Clock* clock);
  ~GrpcServer();
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  // What the health service says of the daemon and of its service.
  void SetServing(bool serving);
  // And of the service "journal": whether what is told is durable.
  void SetJournalServing(bool serving);

  // Stops listening and ends what is still open, at the latest after `timeout`.
  void Shutdown(absl::Duration timeout);

  // Where it listens, with the ports that the kernel chose.
  std::vector<ListenAddress> addresses() const;
  // The open connections of each of them.
  std::vector<int> open_connections() { return acceptor_->open_connections(); }

 private:
  // One address. A gRPC server each, for a call does not tell where it came in.
  struct Listener;

  GrpcServer(GrpcServerOptions options, RpcBackend* backend, const Clock* clock);
  absl::Status StartListener(const ListenAddress& address);
  void SetStatus(const std::string& service, bool serving);

  const GrpcServerOptions options_;
  RpcBackend* const backend_;
  const Clock* const clock_;
  RateLimiter list_rate_;
  std::vector<std::unique_ptr<Listener>> listeners_;
  std::unique_ptr<ConnectionAcceptor> acceptor_;
  std::thread acceptor_thread_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_GRPC_SERVER_H_
