#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/vm_event.h"

// The encoding of events. Pure; any thread.

namespace vmeventd {

// Adds to an event of the watcher's its sequence and its VM as that is after the event; null for an
// event of the node as a whole.
void CompleteEvent(const v1::Vm* vm, uint64_t sequence, v1::Event* event);

// The bytes of a message, the same for equal messages.
std::string Serialized(const google::protobuf::MessageLite& message);
// The message of such bytes; an empty one if they are none.
template <typename Message>
Message Parsed(absl::string_view bytes) {
  Message message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) message.Clear();
  return message;
}
// The bytes of the message in a field's bytes.
absl::string_view MessageOfField(absl::string_view field);

// An event as the journal has it: the message without its end, and the encoded VmRef, whose bytes
// are the same whenever it is.
struct StoredEvent {
  absl::string_view event;
  absl::string_view vm_ref;  // empty: an event of the node as a whole
};
// Appends the bytes of one `events` field (tag, length, message), as of a durable event. The field
// has the same number in WatchEventsResponse and ListEventsResponse, so that the same bytes serve
// both. The message ends with the VmRef, unless that is empty, and then with `durable`, whose value
// is the last byte.
void AppendStoredEvent(const StoredEvent& stored, std::string* out);
// The event of such bytes, whose part before the end has `size` bytes.
StoredEvent StoredEventOf(absl::string_view event_field, size_t size);
// The event of such bytes; an empty one if they are none.
inline v1::Event DecodeEventField(absl::string_view event_field) {
  return Parsed<v1::Event>(MessageOfField(event_field));
}

// The bytes of one `snapshot_vms` field of WatchEventsResponse.
std::string EncodeSnapshotVmField(const v1::Vm& vm);

// Converts those bytes to one `vms` field of ListVmsResponse, or `vm` field of GetVmResponse.
std::string ListedVmField(absl::string_view snapshot_vm_field);

}  // namespace vmeventd
