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

// Appends the bytes of one `events` field (tag, length, message), as of a durable event. The field
// has the same number in WatchEventsResponse and ListEventsResponse, so that the same bytes serve
// both. The message ends with the VmRef, unless that is empty, and then with `durable`, whose value
// is the last byte. Returns the size of what is before this end.
size_t AppendEventField(v1::Event event, std::string* out);
// An event as the journal has it: the message without its end, and the encoded VmRef, whose bytes
// are the same whenever it is.
struct StoredEvent {
  absl::string_view event;
  absl::string_view vm_ref;  // empty: an event of the node as a whole
};
// Appends such bytes of it.
void AppendStoredEvent(const StoredEvent& stored, std::string* out);
// The event of such bytes, whose part before the end has `size` bytes.
StoredEvent StoredEventOf(absl::string_view event_field, size_t size);

// Texts within a VmRef's bytes; empty where it has none.
struct VmNames {
  absl::string_view name;
  absl::string_view run_id;
  absl::string_view source;
};
VmNames NamesOf(absl::string_view vm_ref);

// The event of such bytes; an empty one if they are none.
v1::Event DecodeEventField(absl::string_view event_field);

// The message of a field's bytes.
absl::string_view MessageOfField(absl::string_view field);

// The bytes of one `snapshot_vms` field of WatchEventsResponse.
std::string EncodeSnapshotVmField(const v1::Vm& vm);

// Converts those bytes to one `vms` field of ListVmsResponse, and to a message to read.
std::string ListedVmField(absl::string_view snapshot_vm_field);
v1::Vm DecodeSnapshotVmField(absl::string_view snapshot_vm_field);

}  // namespace vmeventd
