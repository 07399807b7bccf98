#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "client/output/formatter.h"
#include "client/output/node_vm.h"

// A sink: where a command passes the events of its source.

namespace vmeventd::client {

// Handles the events of one or several nodes; VMs of a snapshot only where it wants them. One
// thread. CANCELLED: the watch ends quietly; another error ends it with the error's message.
class EventSink {
 public:
  virtual ~EventSink() = default;

  // A stream is open: called before its events.
  virtual absl::Status Begin() { return absl::OkStatus(); }
  virtual absl::Status ConsumeVms(const NodeVms& /*vms*/) { return absl::OkStatus(); }
  // Returns when the events are done with, so that a cursor may pass them. Of a push: each event
  // was acknowledged or durably set aside.
  virtual absl::Status Consume(Formatter::Events events) = 0;
  // Returns the limit of the events that are consumed at once, behind which a cursor moves.
  virtual size_t together() const { return SIZE_MAX; }

  // What a push calls as well. After an error of Open(), Tick() or Consume() it pauses, and begins
  // again with another source. FAILED_PRECONDITION: it ends.
  //
  // Called before each source begins, behind the cursor, which it may move.
  virtual absl::Status Open() { return absl::OkStatus(); }
  // Called before each item of the source, at least once a second.
  virtual absl::Status Tick() { return absl::OkStatus(); }
  // Called at a stop, while the source is connected.
  virtual void Leave() {}
};

}  // namespace vmeventd::client
