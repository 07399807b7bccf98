#include "client/sources/daemon_node.h"

#include <utility>

#include "client/connect/call_failure.h"
#include "client/connect/connection.h"

namespace vmeventd::client {

DaemonNode::DaemonNode(ServerAddress server, Invocation called)
    : address(std::move(server)), invocation(std::move(called)) {
  const auto channel = Connect(address);
  connected = channel.status();
  if (!channel.ok()) return;
  stub = v1::VmEventService::NewStub(*channel);
  health = grpc::health::v1::Health::NewStub(*channel);
}

Failure DaemonNode::Explain(const grpc::Status& status) const {
  return connected.ok() ? ExplainFailure(address, status) : ExplainNoChannel(address, connected);
}

}  // namespace vmeventd::client
