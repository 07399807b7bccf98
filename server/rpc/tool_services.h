#ifndef VMEVENTD_SERVER_RPC_TOOL_SERVICES_H_
#define VMEVENTD_SERVER_RPC_TOOL_SERVICES_H_

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "server/rpc/incoming_call.h"

namespace vmeventd {

// gRPC's own services for tools, reflection and channelz, on an in-process server that no client
// reaches directly. They block a thread for each open call, so they only get complete requests. Any
// thread.
class Tools {
 public:
  static constexpr int kMaxThreads = 8;
  static constexpr int kMaxWaiting = 16;  // requests under way; more get RESOURCE_EXHAUSTED

  // Null: gRPC cannot start a server; its log states the cause.
  static std::unique_ptr<Tools> Start();
  ~Tools();
  Tools(const Tools&) = delete;
  Tools& operator=(const Tools&) = delete;

  // Lets `method` answer the request. `streams`: the client may send more requests on the same
  // call.
  void Forward(const std::string& method, bool streams, IncomingCall* call);
  // Calls `done` on one of the threads on which gRPC calls reactions: all of them hang if it is not
  // called within some seconds. `done` may outlive this.
  void Ping(std::function<void()> done);

 private:
  struct Forwarded;
  struct Pinged;
  Tools();

  std::vector<std::unique_ptr<grpc::Service>> named_;  // listed by reflection only
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::GenericStub> stub_;
  std::atomic<int> waiting_ = 0;
};

// Reflection and channelz on one listener.
class ToolService : public CallService {
 public:
  // Both must outlive the service.
  ToolService(Tools* tools, CallGate* gate);
};

// For the ServerBuilder of a listener: removes the services that Tools provides.
std::unique_ptr<grpc::ServerBuilderOption> WithoutPlugins();

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_RPC_TOOL_SERVICES_H_
