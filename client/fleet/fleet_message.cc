#include "client/fleet/fleet_message.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/quote.h"
#include "client/output/event_text.h"
#include "client/output/json.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "google/protobuf/util/json_util.h"

namespace vmeventd::client {
namespace {

// Each byte that is not `plain` becomes the escape and two hexadecimal digits.
template <typename IsPlain>
std::string EscapeBytes(absl::string_view text, char escape, const IsPlain& is_plain) {
  std::string out;
  for (const char byte : text) {
    if (is_plain(byte)) {
      out.push_back(byte);
    } else {
      absl::StrAppendFormat(&out, "%c%02X", escape, static_cast<unsigned char>(byte));
    }
  }
  return out;
}

}  // namespace

std::string EscapeToken(absl::string_view name) {
  std::string token = EscapeBytes(name.substr(0, kMaxTokenNameBytes), '=', [](char byte) {
    return absl::ascii_isalnum(static_cast<unsigned char>(byte)) || byte == '-' || byte == '_';
  });
  return token.empty() ? "=" : token;
}

std::optional<std::string> UnescapeToken(absl::string_view token) {
  std::string name;
  for (size_t at = 0; at < token.size() && token != "="; ++at) {
    uint32_t byte = static_cast<unsigned char>(token[at]);
    if (token[at] == '=') {
      if (!absl::SimpleHexAtoi(token.substr(at + 1, 2), &byte)) return std::nullopt;
      at += 2;
    }
    name.push_back(static_cast<char>(byte));
  }
  // One name has one token.
  return EscapeToken(name) == token ? std::optional(std::move(name)) : std::nullopt;
}

std::string IdOf(const v1::Event& event) {
  return event.sequence() > 0 ? absl::StrCat(event.sequence())
                              : absl::StrCat("gap-after-", event.missing().first() - 1);
}

std::string SourceOf(const MessageNode& node) {
  return absl::StrCat("/vmevents/", EscapeToken(node.cluster), "/", EscapeToken(node.name), "/",
                      node.journal_id);
}

std::vector<std::pair<std::string, std::string>> CloudEventOf(const v1::Event& event,
                                                              const MessageNode& node) {
  const absl::Time time = FromProto(event.observe_time());
  std::vector<std::pair<std::string, std::string>> attributes = {
      {"specversion", "1.0"},
      {"id", IdOf(event)},
      {"source", SourceOf(node)},
      {"type", absl::StrCat(kSubjectPrefix, ".", SubjectWords(event))},
      {"subject", event.vm().name()},
      {"time", absl::FormatTime(absl::RFC3339_full, time, absl::UTCTimeZone())}};
  std::erase_if(attributes, [](const auto& attribute) { return attribute.second.empty(); });
  return attributes;
}

absl::StatusOr<NatsMessage> FleetMessage(std::string subject,
                                         const google::protobuf::Message& payload,
                                         const MessageNode& node, bool json) {
  absl::StatusOr<std::string> data = json ? ToJson(payload) : payload.SerializeAsString();
  if (!data.ok()) return data.status();
  return NatsMessage{
      .subject = std::move(subject),
      .data = *std::move(data),
      .headers = {{"ce-source", SourceOf(node)},
                  {"ce-datacontenttype", json ? "application/json" : "application/protobuf"}}};
}

absl::StatusOr<NatsMessage> FleetMessageOf(const v1::Event& event, const MessageNode& node,
                                           bool json) {
  absl::StatusOr<NatsMessage> message =
      FleetMessage(absl::StrCat(NodeSubjectPrefix(node.cluster, node.name),
                                EscapeToken(event.vm().name()), ".", SubjectWords(event)),
                   event, node, json);
  if (!message.ok()) return message;
  // As the binding of CloudEvents encodes the VM's name: printable ASCII stays.
  const auto is_plain = [](char byte) {
    return byte > ' ' && byte <= '~' && byte != '"' && byte != '%';
  };
  for (const auto& [name, value] : CloudEventOf(event, node)) {
    if (name == "source") continue;  // it is there
    message->headers.emplace_back("ce-" + name, EscapeBytes(value, '%', is_plain));
  }
  return message;
}

std::optional<uint64_t> SequenceIn(const NatsMessage& message, const MessageNode& node) {
  if (message.header("ce-source") != SourceOf(node)) return std::nullopt;
  uint64_t sequence = 0;
  const std::string id = message.header("ce-id");
  if (!absl::SimpleAtoi(absl::StripPrefix(id, "gap-after-"), &sequence)) return std::nullopt;
  return sequence;
}

namespace {

// The name of a token. Every publisher may choose it: nullopt also for a name that is not UTF-8, or
// has characters that a terminal obeys or does not show.
std::optional<std::string> NameOf(absl::string_view token) {
  std::optional<std::string> name = UnescapeToken(token);
  return name && EscapeForTerminal(*name) == *name ? name : std::nullopt;
}

}  // namespace

absl::Status ParsePayload(absl::string_view data, google::protobuf::Message* message) {
  // JSON: none of our messages begins so in protobuf's encoding, in which it would start a group.
  if (absl::StartsWith(data, "{")) {
    google::protobuf::util::JsonParseOptions options;
    options.ignore_unknown_fields = true;
    const auto status =
        google::protobuf::util::JsonStringToMessage(std::string(data), message, options);
    if (status.ok()) return absl::OkStatus();
  } else if (message->ParseFromArray(data.data(), static_cast<int>(data.size())) &&
             ToJson(*message).ok()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("its payload is no ", message->GetDescriptor()->full_name()));
}

absl::StatusOr<MessageNode> ParseFleetMessage(const NatsMessage& from,
                                              google::protobuf::Message* message) {
  // "vmevents.v1.CLUSTER.NODE.VM.EVENT" or "$KV.BUCKET.CLUSTER.NODE..."
  const std::vector<absl::string_view> tokens =
      absl::StrSplit(from.subject, absl::MaxSplits('.', 5));
  const auto cluster = tokens.size() > 3 ? NameOf(tokens[2]) : std::nullopt;
  const auto node = tokens.size() > 3 ? NameOf(tokens[3]) : std::nullopt;
  const std::string source = from.header("ce-source");
  absl::string_view journal = source;
  if (!cluster || !node ||
      !absl::ConsumePrefix(&journal, absl::StrCat("/vmevents/", tokens[2], "/", tokens[3], "/")) ||
      journal.empty() || absl::StrContains(journal, '/') || EscapeForTerminal(journal) != journal) {
    return absl::InvalidArgumentError(
        absl::StrCat("its header ce-source is ", Quote(source), ", whose subject this is not"));
  }
  const bool event = absl::StartsWith(from.subject, kSubjectPrefix);
  const std::string expected =
      event && tokens.size() == 6 ? absl::StrCat(kSubjectPrefix, ".", tokens[5]) : std::string();
  if (from.header("ce-type") != expected) {
    return absl::InvalidArgumentError("its header ce-type is not that of its subject");
  }
  if (absl::Status status = ParsePayload(from.data, message); !status.ok()) return status;
  return MessageNode{*node, *cluster, std::string(journal), {}};
}

}  // namespace vmeventd::client
