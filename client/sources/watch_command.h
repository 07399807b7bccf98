#pragma once

#include <variant>

#include "absl/time/time.h"
#include "client/output/watch_position.h"
#include "vmeventd/v1/vm_events.pb.h"

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
  WatchStart start;  // a FromSequence without a journal_id refers to the server's present journal
  v1::EventFilter filter;
  bool wait = false;          // waits for servers that cannot be reached yet
  bool durable_only = false;  // delivers no event before it is durable
  // Events and VMs of a single daemon have its node's name; the source asks for it.
  bool named = false;
  // Set for consumers that are not people: implies `named`, events have their journal_id, and each
  // gap that is reported to `note` is also an event from MakeGap().
  bool identify = false;
};

}  // namespace vmeventd::client
