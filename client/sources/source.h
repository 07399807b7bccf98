#pragma once

#include <string>
#include <variant>

#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/output/message_node.h"
#include "client/output/node_event.h"
#include "client/output/node_vm.h"
#include "client/output/watch_position.h"
#include "vmeventd/v1/vm_events.pb.h"

// A source of events: one daemon, several daemons or a fleet, read through one interface.

namespace vmeventd::client {

// Delivers events as they happen, over as many connections as needed: resumes after its position,
// and reports gaps. One thread.
class Source {
 public:
  virtual ~Source() = default;

  // Nothing arrived within the timeout.
  struct Nothing {};
  // A stream is open. With a snapshot, this comes after the snapshot's VMs.
  struct Opened {};
  // The last item. kOk: it was stopped. Otherwise the code of a failure that cannot be retried, and
  // that was already reported to `note`.
  struct Ended {
    ExitCode code = ExitCode::kOk;
  };
  // NodeVms is a complete snapshot. NodeEvents has at least one event; a GAP is an event. A
  // ServerPosition says that everything up to it was delivered; it is omitted if the server's last
  // event has the same position.
  using Item = std::variant<Nothing, Opened, NodeVms, NodeEvents, ServerPosition, Ended>;

  // Waits up to `timeout` for the next item; an attempt to connect may take longer.
  virtual Item Next(absl::Duration timeout) = 0;

  // Returns why there is no connection now, in the words of the report; empty: there is one, or
  // there are several servers.
  virtual std::string loss() = 0;
};

}  // namespace vmeventd::client
