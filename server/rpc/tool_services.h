#ifndef VMEVENTD_SERVER_RPC_TOOL_SERVICES_H_
#define VMEVENTD_SERVER_RPC_TOOL_SERVICES_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "server/rpc/incoming_call.h"

namespace vmeventd {

// gRPC's own services for tools, reflection and channelz, on a server of the process that no client
// reaches. They are of the kind that holds a thread for each open call, so that here they only get
// requests that are complete. Any thread.
class Tools {
 public:
  static constexpr int kMaxThreads = 8;
  static constexpr int kMaxWaiting = 16;  // requests under way; more get RESOURCE_EXHAUSTED

  // Null: gRPC cannot start a server; its log has the reason.
  static std::unique_ptr<Tools> Start();
  ~Tools();
  Tools(const Tools&) = delete;
  Tools& operator=(const Tools&) = delete;

  // Lets `method` answer the request. `streams`: the client may ask again on the same call.
  void Forward(const std::string& method, bool streams, IncomingCall* call);

 private:
  struct Forwarded;
  Tools();

  std::vector<std::unique_ptr<grpc::Service>> named_;  // only for reflection to list
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::GenericStub> stub_;
  std::atomic<int> waiting_ = 0;
};

// Reflection and channelz on one listener.
class ToolService : public CallService {
 public:
  // Both outlive the service.
  ToolService(Tools* tools, CallGate* gate);
};

// For a ServerBuilder of listeners: without the services that Tools has.
std::unique_ptr<grpc::ServerBuilderOption> WithoutPlugins();

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_RPC_TOOL_SERVICES_H_
