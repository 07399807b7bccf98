#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "vmeventd/v1/vm_events.pb.h"

// The encoding of events. Pure; any thread.

namespace vmeventd {

// Adds to an event of the watcher its sequence and its VM in the state after the event; `vm` is
// null for an event of the node as a whole.
void CompleteEvent(const v1::Vm* vm, uint64_t sequence, v1::Event* event);

// The bytes of a message, the same for equal messages.
std::string Serialized(const google::protobuf::MessageLite& message);
// Parses such bytes; returns an empty message if they are malformed.
template <typename Message>
Message Parsed(absl::string_view bytes) {
  Message message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) message.Clear();
  return message;
}
// Appends the bytes of a field with a message: the tag, the length and `message`.
void AppendField(int field, absl::string_view message, std::string* out);

// An event as the journal stores it. Its views refer to bytes of another owner.
struct EventRecord {
  uint64_t sequence = 0;
  v1::EventType type{};
  v1::ShutdownClass shutdown_class{};  // UNSPECIFIED if the event has none
  absl::Time observe_time;
  // If it is before observe_time: nobody saw when the event happened, between the two. Else it
  // equals observe_time.
  absl::Time since;
  absl::string_view event;  // the message without its VmRef and `durable`
  // The same VmRef has always the same bytes; empty: of the node as a whole.
  absl::string_view vm_ref;

  bool is_of_node() const { return vm_ref.empty(); }
};
// Appends the event, with `durable` set, as a field `events`, which has the same number in
// WatchEventsResponse and ListEventsResponse. The last byte is the value of `durable`. Returns the
// offset in `out` of the bytes of record.event.
size_t AppendEvent(const EventRecord& record, std::string* out);

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
EventPtr Logged(v1::Event event);

}  // namespace vmeventd
