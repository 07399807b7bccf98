#include "client/sources/servers.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/loopback.h"
#include "client/connect/connection.h"
#include "client/sources/ask_all.h"
#include "grpcpp/client_context.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {
namespace {

// Longest wait for a node's name, which is not worth a longer one.
constexpr absl::Duration kNameWait = absl::Seconds(2);

}  // namespace

std::vector<DaemonNode> NodesOf(const Servers& servers, bool named) {
  std::vector<DaemonNode> nodes;
  const Invocation invocation = InvocationOf(servers);
  for (const ServerAddress& server : servers.addresses) nodes.emplace_back(server, invocation);
  if (nodes.size() == 1 && !named) return nodes;
  AskAll(nodes.size(), [&nodes](size_t i) {
    DaemonNode& node = nodes[i];
    if (!node.connected.ok()) return;
    grpc::ClientContext call;
    // A login takes longer than a connection.
    SetRequestDeadline(&call, node.address.is_ssh() ? kRequestTimeout : kNameWait);
    v1::GetServerInfoResponse info;
    (void)node.stub->GetServerInfo(&call, {}, &info);
    node.name = info.node();
  });
  std::map<std::string, int> servers_of;
  for (const DaemonNode& node : nodes) ++servers_of[node.name];
  for (DaemonNode& node : nodes) {
    if (node.name.empty() || servers_of[node.name] > 1) node.name = NodeName(node.address);
  }
  return nodes;
}

Invocation InvocationOf(const Servers& servers) {
  Invocation invocation = {.client = servers.client};
  if (servers.fleet) {
    invocation.where = " in the fleet";
  } else if (servers.addresses.size() > 1) {
    invocation.where = absl::StrCat(" on the ", servers.addresses.size(), " servers");
  } else if (!servers.addresses.empty()) {
    const ServerAddress& server = servers.first();
    invocation.where = absl::StrCat(" to vmeventd at ", ToText(server));
    invocation.is_here = server.is_unix() || IsLoopback(server.host);
  }
  return invocation;
}

}  // namespace vmeventd::client
