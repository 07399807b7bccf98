#pragma once

#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace vmeventd::client {

// The node that a message is from.
struct MessageNode {
  std::string name;  // not shown if empty: the message is from the only server that was named
  // Cluster of a fleet's node; empty: the message is from a server that was named.
  std::string cluster;
  std::string journal_id;  // journal of the event, if its source knows it; never shown
  // Set if the VM's state may have changed since, because its node fell silent or stopped while the
  // VM ran: the time of the node's last heartbeat; the infinite past if there was none, or if the
  // node has lost its journal.
  std::optional<absl::Time> stale_since;

  // Returns "CLUSTER/NODE", or the name alone outside of fleets.
  std::string full_name() const {
    return cluster.empty() ? name : absl::StrCat(cluster, "/", name);
  }
  bool operator==(const MessageNode&) const = default;
};

}  // namespace vmeventd::client
