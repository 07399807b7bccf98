#include "client/fleet/fleet_message.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/nats/subject.h"
#include "client/output/terminal_text.h"
#include "google/protobuf/duration.pb.h"
#include "google/protobuf/timestamp.pb.h"
#include "google/protobuf/util/json_util.h"
#include "google/protobuf/util/time_util.h"

namespace vmeventd::client {
namespace {

// The name of a token; a long name has no way back and stays a token. Every publisher may choose
// it: nullopt for a name that is not UTF-8, or has characters that a terminal obeys or does not
// show.
std::optional<std::string> NameOf(absl::string_view token) {
  std::string name = UnescapeToken(token).value_or(std::string(token));
  if (EscapeForTerminal(name) != name) return std::nullopt;
  return name;
}

bool IsWithin(int64_t value, int64_t least, int64_t most) {
  return least <= value && value <= most;
}

// Returns whether all of its times can be written as JSON: in protobuf's encoding they are any
// numbers.
bool HasGoodTimes(const google::protobuf::Message& message) {
  using google::protobuf::Duration;
  using google::protobuf::Timestamp;
  using google::protobuf::util::TimeUtil;
  constexpr int32_t kMaxNanos = 999'999'999;
  if (message.GetDescriptor() == Timestamp::descriptor()) {
    const auto& time = static_cast<const Timestamp&>(message);
    return IsWithin(time.seconds(), TimeUtil::kTimestampMinSeconds,
                    TimeUtil::kTimestampMaxSeconds) &&
           IsWithin(time.nanos(), 0, kMaxNanos);
  }
  if (message.GetDescriptor() == Duration::descriptor()) {
    const auto& duration = static_cast<const Duration&>(message);
    const bool negative = duration.seconds() < 0 || duration.nanos() < 0;
    return IsWithin(duration.seconds(), TimeUtil::kDurationMinSeconds,
                    negative ? 0 : TimeUtil::kDurationMaxSeconds) &&
           IsWithin(duration.nanos(), -kMaxNanos, negative ? 0 : kMaxNanos);
  }
  const google::protobuf::Reflection& reflection = *message.GetReflection();
  std::vector<const google::protobuf::FieldDescriptor*> fields;
  reflection.ListFields(message, &fields);
  return std::all_of(fields.begin(), fields.end(), [&](const auto* field) {
    if (field->cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE) return true;
    if (!field->is_repeated()) return HasGoodTimes(reflection.GetMessage(message, field));
    for (int i = 0; i < reflection.FieldSize(message, field); ++i) {
      if (!HasGoodTimes(reflection.GetRepeatedMessage(message, field, i))) return false;
    }
    return true;
  });
}

}  // namespace

absl::StatusOr<MessageNode> ParseOrigin(absl::string_view source) {
  const std::vector<absl::string_view> parts = absl::StrSplit(source, '/');
  if (parts.size() == 5 && parts[0].empty() && parts[1] == "vmevents" && !parts[4].empty()) {
    std::optional<std::string> cluster = NameOf(parts[2]);
    std::optional<std::string> node = NameOf(parts[3]);
    if (cluster && node && EscapeForTerminal(parts[4]) == parts[4]) {
      return MessageNode{*std::move(node), *std::move(cluster), std::string(parts[4]), {}};
    }
  }
  return absl::InvalidArgumentError("its header ce-source does not name a node of vmeventd");
}

absl::Status ParsePayload(absl::string_view data, google::protobuf::Message* message) {
  // JSON: none of our messages begins so in protobuf's encoding, in which it would start a group.
  if (absl::StartsWith(data, "{")) {
    google::protobuf::util::JsonParseOptions options;
    options.ignore_unknown_fields = true;
    const auto status =
        google::protobuf::util::JsonStringToMessage(std::string(data), message, options);
    if (status.ok()) return absl::OkStatus();
  } else if (message->ParseFromArray(data.data(), static_cast<int>(data.size())) &&
             HasGoodTimes(*message)) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("its payload is no ", message->GetDescriptor()->full_name()));
}

absl::StatusOr<MessageNode> ParseFleetMessage(const NatsMessage& from,
                                              google::protobuf::Message* message) {
  absl::StatusOr<MessageNode> origin = ParseOrigin(from.header("ce-source"));
  if (!origin.ok()) return origin;
  // "vmevents.v1.CLUSTER.NODE.VM.EVENT" or "$KV.BUCKET.CLUSTER.NODE..."
  const std::vector<absl::string_view> tokens =
      absl::StrSplit(from.subject(), absl::MaxSplits('.', 5));
  if (tokens.size() < 4 || NameOf(tokens[2]) != origin->cluster ||
      NameOf(tokens[3]) != origin->name) {
    return absl::InvalidArgumentError(absl::StrCat("its header ce-source names the node ",
                                                   origin->cluster, "/", origin->name,
                                                   ", whose subject this is not"));
  }
  const bool event = absl::StartsWith(from.subject(), kSubjectPrefix);
  const std::string expected =
      event && tokens.size() == 6 ? absl::StrCat(kSubjectPrefix, ".", tokens[5]) : std::string();
  if (from.header("ce-type") != expected) {
    return absl::InvalidArgumentError("its header ce-type is not that of its subject");
  }
  if (absl::Status status = ParsePayload(from.data(), message); !status.ok()) return status;
  return origin;
}

}  // namespace vmeventd::client
