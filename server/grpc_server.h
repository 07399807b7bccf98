#ifndef VMEVENTD_SERVER_GRPC_SERVER_H_
#define VMEVENTD_SERVER_GRPC_SERVER_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/grpcpp.h"
#include "server/listen_address.h"
#include "server/lock_file.h"

namespace vmeventd {

// The listening gRPC server: the given service, health, reflection and channelz. Holds the lock
// beside each Unix socket, and removes the sockets when it is destroyed. Any thread.
class GrpcServer {
 public:
  // Listens on all of `addresses`, or on none: the error names the one that failed. `service`
  // outlives the server. Health says NOT_SERVING at first. Changes the umask for a moment: call it
  // before other threads make files.
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(
      const std::vector<ListenAddress>& addresses, grpc::Service* service);
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
  const std::vector<ListenAddress>& addresses() const { return addresses_; }

 private:
  GrpcServer(std::vector<ListenAddress> addresses, std::vector<std::unique_ptr<LockFile>> locks)
      : addresses_(std::move(addresses)), locks_(std::move(locks)) {}

  absl::Status Listen(grpc::Service* service);

  std::vector<ListenAddress> addresses_;
  const std::vector<std::unique_ptr<LockFile>> locks_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_GRPC_SERVER_H_
