#include "client/fleet/fleet_message.h"

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/quote.h"
#include "client/fleet/cloud_event.h"
#include "client/fleet/escape_bytes.h"
#include "client/fleet/fleet_subjects.h"
#include "client/output/json.h"
#include "client/output/terminal_text.h"
#include "google/protobuf/util/json_util.h"

namespace vmeventd::client {

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
  // A payload that begins with "{" is JSON: in protobuf's encoding this byte would start a group,
  // and none of our messages has one.
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
