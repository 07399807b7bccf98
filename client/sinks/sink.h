#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/status.h"
#include "client/output/formatter.h"
#include "client/output/node_vm.h"

// A sink: the destination to which a command passes the events of its source.

namespace vmeventd::client {

// Handles the events of one or several nodes; the VMs of a snapshot only if it overrides
// ConsumeVms(). One thread. CANCELLED: the watch ends without a message; any other error ends it
// with the error's message.
class EventSink {
 public:
  virtual ~EventSink() = default;

  // Called once a stream is open, before its events.
  virtual absl::Status Begin() { return absl::OkStatus(); }
  virtual absl::Status ConsumeVms(const NodeVms& /*vms*/) { return absl::OkStatus(); }
  // Returns when the events are handled, so that a cursor may move past them. For a push: each
  // event was acknowledged or durably set aside.
  virtual absl::Status Consume(Formatter::Events events) = 0;
  // Returns the maximum number of events for one Consume(); a cursor moves after each call.
  virtual size_t together() const { return SIZE_MAX; }

  // Only a push calls the rest. After an error of Open(), Tick() or Consume() it pauses, and starts
  // again with a new source. FAILED_PRECONDITION ends it.
  //
  // Called before each source starts at the cursor. May move the cursor.
  virtual absl::Status Open() { return absl::OkStatus(); }
  // Called before each item of the source, at least once a second.
  virtual absl::Status Tick() { return absl::OkStatus(); }
  // Called at a stop, while the source is connected.
  virtual void Leave() {}
};

}  // namespace vmeventd::client
