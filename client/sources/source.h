#pragma once

#include <string>
#include <variant>

#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/output/node_event.h"
#include "client/output/node_vm.h"
#include "vmeventd/v1/vm_events.pb.h"

// A source of events: one daemon, several, or a fleet, each as one iterator.

namespace vmeventd::client {

// Start of a watch.
struct FromNow {};
struct FromOldest {};
struct FromSnapshot {};
struct FromTime {
  absl::Time time;
};
// Begins with the first event after the position.
using FromSequence = WatchPosition;
using WatchStart = std::variant<FromNow, FromOldest, FromSnapshot, FromTime, FromSequence>;

// A watch: where it starts, its filter, and how long it lasts.
struct WatchCommand {
  WatchStart start;  // a FromSequence without a journal_id uses the server's present journal
  v1::EventFilter filter;
  bool wait = false;          // waits for those that are not there yet
  bool durable_only = false;  // no event comes before it is durable
  // Events and VMs of one daemon have its node's own name, for which it is asked.
  bool named = false;
  // Set for consumers that are no people: as `named`, and events have their journal, and what is
  // noted as a GAP is also an event of MakeGap().
  bool identify = false;
};

// A GAP that no journal has: it has no sequence, and `missing` begins behind the position and has
// no end. The position does not move.
NodeEvents MakeGap(MessageNode node, const WatchPosition& behind, const std::string& why);

// Events as they happen, over as many connections as needed: it continues behind its position, and
// reports a gap by itself. One thread.
class Source {
 public:
  virtual ~Source() = default;

  // Nothing came within the timeout.
  struct Nothing {};
  // A stream is open; with a snapshot, after its VMs.
  struct Opened {};
  // Nothing comes any more. kOk: it was stopped. Otherwise the code of a failure that cannot be
  // retried, after a note about it.
  struct Ended {
    ExitCode code = ExitCode::kOk;
  };
  // NodeVms is a complete snapshot. NodeEvents are at least one, and a GAP is one of them. A
  // ServerPosition comes when everything up to it has been delivered; not where the server's last
  // event has it.
  using Item = std::variant<Nothing, Opened, NodeVms, NodeEvents, ServerPosition, Ended>;

  // Waits for so long for the next item; an attempt to connect may take longer.
  virtual Item Next(absl::Duration timeout) = 0;

  // Why there is no connection now, as it was noted; empty: there is one, or there are several
  // servers.
  virtual std::string loss() = 0;
};

}  // namespace vmeventd::client
