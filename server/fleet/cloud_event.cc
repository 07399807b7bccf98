#include "server/fleet/cloud_event.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "base/nats/jetstream_api.h"
#include "base/nats/subject.h"
#include "google/protobuf/util/json_util.h"
#include "server/events/event_codec.h"

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

// "MONITOR_LOST" as "monitor-lost", without `prefix`.
std::string Lower(absl::string_view name, absl::string_view prefix) {
  return absl::StrReplaceAll(absl::AsciiStrToLower(absl::StripPrefix(name, prefix)), {{"_", "-"}});
}

// The message of a field (tag, length, message).
absl::string_view MessageInField(absl::string_view field) {
  size_t at = 1;  // the tag
  while (at < field.size() && (static_cast<unsigned char>(field[at]) & 0x80) != 0) ++at;
  field.remove_prefix(std::min(at + 1, field.size()));
  return field;
}

std::string JsonOf(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  // Strings of our messages are valid UTF-8, and times lie within what JSON can say: there is no
  // message that cannot be written.
  (void)google::protobuf::util::MessageToJsonString(message, &json, options);
  return json;
}

// Each part is a token, and so a part of a URI's path too.
std::string SourceOf(const FleetIdentity& identity) {
  return absl::StrCat("/vmevents/", EscapeToken(identity.cluster), "/", EscapeToken(identity.node),
                      "/", identity.journal_id);
}

const char* ContentType(FleetFormat format) {
  return format == FleetFormat::kJson ? "application/json" : "application/protobuf";
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
  add("ce-source", SourceOf(identity));
  add("ce-type", absl::StrCat(kSubjectPrefix, ".", event));
  if (!entry.vm_name.empty()) add("ce-subject", entry.vm_name);
  add("ce-time", absl::FormatTime(absl::RFC3339_full, entry.observe_time, absl::UTCTimeZone()));
  add("ce-datacontenttype", ContentType(format));
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
  message.payload = PayloadOf(event, format);
  return message;
}

std::string PayloadOf(const google::protobuf::Message& message, FleetFormat format) {
  return format == FleetFormat::kJson ? JsonOf(message) : message.SerializeAsString();
}

std::string VmPayload(const std::string& encoded, FleetFormat format) {
  return format == FleetFormat::kJson ? JsonOf(DecodeSnapshotVmField(encoded))
                                      : std::string(MessageInField(encoded));
}

std::vector<std::pair<std::string, std::string>> ValueHeaders(const FleetIdentity& identity,
                                                              FleetFormat format) {
  return {{"ce-source", SourceOf(identity)}, {"ce-datacontenttype", ContentType(format)}};
}

std::string EventToken(v1::EventType type, v1::ShutdownClass shutdown_class) {
  // A number that this version does not know has no name.
  const std::string name = v1::EventType_Name(type);
  std::string token =
      name.empty() ? absl::StrCat("type-", static_cast<int>(type)) : Lower(name, "EVENT_TYPE_");
  if (shutdown_class == v1::SHUTDOWN_CLASS_UNSPECIFIED) return token;
  const std::string class_name = v1::ShutdownClass_Name(shutdown_class);
  absl::StrAppend(&token, ".",
                  class_name.empty() ? absl::StrCat("class-", static_cast<int>(shutdown_class))
                                     : Lower(class_name, "SHUTDOWN_CLASS_"));
  return token;
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
