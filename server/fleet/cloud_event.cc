#include "server/fleet/cloud_event.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include "server/events/event_codec.h"
#include "server/fleet/subject.h"

namespace vmeventd {
namespace {

// A header's value as the binding encodes it: the bytes that are not printable ASCII, the blank,
// the double quote and the percent sign become % and two digits.
std::string PercentEncode(absl::string_view value) {
  constexpr absl::string_view kDigits = "0123456789ABCDEF";
  std::string out;
  for (const char byte : value) {
    if (byte > ' ' && byte <= '~' && byte != '"' && byte != '%') {
      out.push_back(byte);
      continue;
    }
    const auto code = static_cast<unsigned char>(byte);
    out.append({'%', kDigits[code >> 4], kDigits[code & 15]});
  }
  return out;
}

// The message of a field (tag, length, message).
absl::string_view MessageInField(absl::string_view field) {
  size_t at = 1;  // the tag
  while (at < field.size() && (static_cast<unsigned char>(field[at]) & 0x80) != 0) ++at;
  field.remove_prefix(std::min(at + 1, field.size()));
  return field;
}

std::string JsonOf(const v1::Event& event) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  // Strings of an event are valid UTF-8, and its times lie within what JSON can say: there is no
  // event that cannot be written.
  (void)google::protobuf::util::MessageToJsonString(event, &json, options);
  return json;
}

FleetMessage Message(const FleetIdentity& identity, const EventBlock::Entry& entry,
                     FleetFormat format) {
  const std::string event = EventToken(entry.type, entry.shutdown_class);
  FleetMessage message;
  message.sequence = entry.sequence;
  message.subject = ToSubject({identity.cluster, identity.node, std::string(entry.vm_name), event});
  const auto add = [&message](absl::string_view name, absl::string_view value) {
    message.headers.emplace_back(name, PercentEncode(value));
  };
  add(kMessageIdHeader, ToMessageId({identity.journal_id, entry.sequence}));
  add("ce-specversion", "1.0");
  add("ce-id", absl::StrCat(entry.sequence));
  // Each part is a token, and so a part of a URI's path too.
  add("ce-source", absl::StrCat("/vmevents/", EscapeToken(identity.cluster), "/",
                                EscapeToken(identity.node), "/", identity.journal_id));
  add("ce-type", absl::StrCat(kSubjectPrefix, ".", event));
  if (!entry.vm_name.empty()) add("ce-subject", entry.vm_name);
  add("ce-time", absl::FormatTime(absl::RFC3339_full, entry.observe_time, absl::UTCTimeZone()));
  add("ce-datacontenttype",
      format == FleetFormat::kJson ? "application/json" : "application/protobuf");
  return message;
}

}  // namespace

FleetMessage ToFleetMessage(const FleetIdentity& identity, const EventBlock::Entry& entry,
                            absl::string_view encoded, FleetFormat format) {
  FleetMessage message = Message(identity, entry, format);
  message.payload = format == FleetFormat::kJson ? JsonOf(DecodeEventField(encoded))
                                                 : std::string(MessageInField(encoded));
  return message;
}

FleetMessage GapMessage(const FleetIdentity& identity, uint64_t first, uint64_t last,
                        absl::Time now, FleetFormat format) {
  v1::Event event;
  event.set_sequence(last);
  *event.mutable_observe_time() = ToTimestamp(now);
  event.set_type(v1::EVENT_TYPE_GAP);
  event.set_message(
      absl::StrCat("the events ", first, " to ", last,
                   " are not in the fleet's stream: the journal's retention deleted them before "
                   "they were published"));
  event.mutable_missing()->set_first(first);
  event.mutable_missing()->set_last(last);
  EventBlock::Entry entry{};
  entry.sequence = last;
  entry.type = event.type();
  entry.observe_time = now;
  FleetMessage message = Message(identity, entry, format);
  message.payload = format == FleetFormat::kJson ? JsonOf(event) : event.SerializeAsString();
  return message;
}

std::string ToMessageId(const FleetMessageId& id) {
  return absl::StrCat(id.journal_id, ":", id.sequence);
}

std::optional<FleetMessageId> ParseMessageId(absl::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == text.npos || colon == 0) return std::nullopt;
  FleetMessageId id{std::string(text.substr(0, colon)), 0};
  if (!absl::SimpleAtoi(text.substr(colon + 1), &id.sequence) || id.sequence == 0 ||
      ToMessageId(id) != text) {
    return std::nullopt;
  }
  return id;
}

}  // namespace vmeventd
