#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "absl/time/time.h"
#include "server/events/event_record.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// An event in memory, with its bytes. Immutable.
struct LoggedEvent : EventRecord {
  explicit LoggedEvent(const EventRecord& record);
  LoggedEvent(const LoggedEvent&) = delete;
  LoggedEvent& operator=(const LoggedEvent&) = delete;

  // Approximate memory.
  size_t memory() const { return sizeof(LoggedEvent) + 64 + field.size(); }

  std::string field;  // result of AppendEvent
  // Monotonic time at which it became public, to measure its way to a client; zero: not known. Set
  // once, before others see the event.
  mutable absl::Duration published;
};
using EventPtr = std::shared_ptr<const LoggedEvent>;
// Returns the event as it is logged. Its `durable` does not matter.
EventPtr Logged(v1::Event event);

}  // namespace vmeventd
