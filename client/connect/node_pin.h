#ifndef VMEVENTD_CLIENT_CONNECT_NODE_PIN_H_
#define VMEVENTD_CLIENT_CONNECT_NODE_PIN_H_

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/connect/resolver.h"
#include "client/connect/server_address.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// By what one node is known from another. What is empty is not known.
struct NodeIdentity {
  std::string node_id;     // stays when the host is renamed
  std::string node;        // the host's name
  std::string journal_id;  // of its journal now
};
NodeIdentity IdentityOf(const v1::GetServerInfoResponse& info);

// Whether the server at an address goes on with the events of `known`. At the same address that is
// so for the same journal, and for the same node, which may get a new one; at another address for
// the same journal alone, because several servers may run on one node. Where there is nothing to
// compare it is so.
bool GoesOn(const NodeIdentity& known, const NodeIdentity& found, bool same_address);

// Keeps to one node where a name stands for several, as that of a headless Service of Kubernetes
// does: each node has events and sequences of its own, and a client that went from one to the next
// would mix them. The first address that answers is kept; another one only counts if the same node
// answers there. One thread; calls out to the resolver alone.
class NodePin {
 public:
  NodePin(ServerAddress address, Resolver resolver);

  // The address of the next attempt: the kept one first, then what the name stands for now.
  // UNAVAILABLE: the name is not known.
  absl::StatusOr<ServerAddress> Next();
  // Whether there are more addresses to try before the name is resolved again.
  bool has_more() const { return !untried_.empty(); }

  // This node answered at the address of the last Next(). False: it is not the one that is kept to.
  bool OnAnswer(const NodeIdentity& identity);

  // Whether the name stood for several addresses of one family, so that they may be several nodes.
  bool is_ambiguous() const { return ambiguous_; }
  // The node that is kept to; unset before the first answer.
  const std::optional<NodeIdentity>& node() const { return node_; }

 private:
  const ServerAddress address_;
  const Resolver resolver_;
  std::deque<std::string> untried_;
  std::string current_;  // of the last Next()
  std::string kept_;     // empty before the first answer
  bool ambiguous_ = false;
  std::optional<NodeIdentity> node_;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_NODE_PIN_H_
