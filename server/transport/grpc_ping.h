#ifndef VMEVENTD_SERVER_TRANSPORT_GRPC_PING_H_
#define VMEVENTD_SERVER_TRANSPORT_GRPC_PING_H_

#include <functional>

#include "grpcpp/generic/generic_stub.h"

namespace vmeventd {

// Shows whether the threads on which gRPC calls reactions still do so: all calls hang if they do
// not. Any thread.
class GrpcPing {
 public:
  GrpcPing();

  // Calls `done` on one of these threads in one of its next turns. `done` may outlive this.
  void Ping(std::function<void()> done);

 private:
  struct Pinged;
  grpc::GenericStub stub_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_TRANSPORT_GRPC_PING_H_
