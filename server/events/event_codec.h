#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "server/events/event_record.h"
#include "vmeventd/v1/vm_events.pb.h"

// The encoding of events. Pure; any thread.

namespace vmeventd {

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

// Appends the event, with `durable` set, as a field `events`, which has the same number in
// WatchEventsResponse and ListEventsResponse. It ends with the bytes of record.vm_ref and then
// kDurableBytes for `durable`, the last of which is its value. Returns the offset in `out` of the
// bytes of record.event.
size_t AppendEvent(const EventRecord& record, std::string* out);
inline constexpr size_t kDurableBytes = 2;

}  // namespace vmeventd
