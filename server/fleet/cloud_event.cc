#include "server/fleet/cloud_event.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
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

// Digits of an id's code: enough that nobody guesses one of the next few ids.
constexpr size_t kCodeDigits = 16;

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

const char* ContentType(PublishFormat format) {
  return format == PublishFormat::kJson ? "application/json" : "application/protobuf";
}

}  // namespace

FleetEncoder::FleetEncoder(const FleetIdentity& identity, PublishFormat format, std::string secret)
    : journal_id_(identity.journal_id),
      format_(format),
      secret_(std::move(secret)),
      source_(SourceOf(identity)),
      subject_prefix_(NodeSubjectPrefix(identity.cluster, identity.node)) {}

FleetMessage FleetEncoder::Envelope(const EventBlock::Entry& entry) const {
  const std::string event = EventToken(entry.type, entry.shutdown_class);
  FleetMessage message;
  message.sequence = entry.sequence;
  message.subject = ToSubject(subject_prefix_, entry.vm_name, event);
  message.headers.reserve(8);
  const auto add = [&message](const char* name, std::string value) {
    message.headers.emplace_back(name, std::move(value));
  };
  add(kMessageIdHeader, ToMessageId({journal_id_, entry.sequence}, subject_prefix_, secret_));
  add("ce-specversion", "1.0");
  add("ce-id", absl::StrCat(entry.sequence));
  add("ce-source", source_);
  add("ce-type", absl::StrCat(kSubjectPrefix, ".", event));
  if (!entry.vm_name.empty()) add("ce-subject", PercentEncode(entry.vm_name));
  add("ce-time", absl::FormatTime(absl::RFC3339_full, entry.observe_time, absl::UTCTimeZone()));
  add("ce-datacontenttype", ContentType(format_));
  return message;
}

FleetMessage FleetEncoder::Encode(const EventBlock::Entry& entry, absl::string_view encoded) const {
  FleetMessage message = Envelope(entry);
  message.payload = format_ == PublishFormat::kJson ? JsonOf(DecodeEventField(encoded))
                                                    : std::string(MessageInField(encoded));
  return message;
}

FleetMessage FleetEncoder::EncodeGap(uint64_t first, uint64_t last, absl::string_view why,
                                     absl::Time now) const {
  v1::Event event;
  event.set_sequence(last);
  *event.mutable_observe_time() = ToTimestamp(now);
  event.set_type(v1::EVENT_TYPE_GAP);
  event.set_durable(true);  // the stream is durable
  event.set_message(
      absl::StrCat("the events ", first, " to ", last, " are not in the fleet's stream: ", why));
  event.mutable_missing()->set_first(first);
  event.mutable_missing()->set_last(last);
  EventBlock::Entry entry{};
  entry.sequence = last;
  entry.type = event.type();
  entry.observe_time = now;
  FleetMessage message = Envelope(entry);
  message.payload = PayloadOf(event, format_);
  return message;
}

std::string PayloadOf(const google::protobuf::Message& message, PublishFormat format) {
  return format == PublishFormat::kJson ? JsonOf(message) : message.SerializeAsString();
}

std::string VmPayload(absl::string_view encoded, PublishFormat format) {
  return format == PublishFormat::kJson ? JsonOf(DecodeSnapshotVmField(encoded))
                                        : std::string(MessageInField(encoded));
}

std::vector<std::pair<std::string, std::string>> ValueHeaders(const FleetIdentity& identity,
                                                              PublishFormat format) {
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

std::string ToMessageId(const FleetMessageId& id, absl::string_view subject_prefix,
                        const std::string& secret) {
  std::string text = absl::StrCat(id.journal_id, ":", id.sequence);
  if (secret.empty()) return text;
  const std::string coded = absl::StrCat(text, ":", subject_prefix);
  std::array<unsigned char, SHA256_DIGEST_LENGTH> code{};
  HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()),
       reinterpret_cast<const unsigned char*>(coded.data()), coded.size(), code.data(), nullptr);
  absl::StrAppend(&text, ":",
                  absl::BytesToHexString(absl::string_view(
                      reinterpret_cast<const char*>(code.data()), kCodeDigits / 2)));
  return text;
}

std::optional<FleetMessageId> ParseMessageId(absl::string_view text) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ':');
  if (parts.size() < 2 || parts.size() > 3 || parts[0].empty()) return std::nullopt;
  if (parts.size() == 3 && (parts[2].size() != kCodeDigits ||
                            !std::all_of(parts[2].begin(), parts[2].end(), absl::ascii_isxdigit))) {
    return std::nullopt;
  }
  FleetMessageId id{std::string(parts[0]), 0};
  if (!absl::SimpleAtoi(parts[1], &id.sequence) || id.sequence == 0 ||
      absl::StrCat(id.sequence) != parts[1]) {
    return std::nullopt;
  }
  return id;
}

std::string JournalOfSource(absl::string_view source) {
  const std::vector<absl::string_view> parts = absl::StrSplit(source, '/');
  return parts.size() == 5 && parts[1] == "vmevents" ? std::string(parts[4]) : "";
}

}  // namespace vmeventd
