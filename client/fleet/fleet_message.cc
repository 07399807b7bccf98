#include "client/fleet/fleet_message.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/nats/subject.h"
#include "client/output/terminal_text.h"
#include "google/protobuf/util/json_util.h"

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

}  // namespace

absl::StatusOr<FleetOrigin> ParseOrigin(absl::string_view source) {
  const std::vector<absl::string_view> parts = absl::StrSplit(source, '/');
  if (parts.size() == 5 && parts[0].empty() && parts[1] == "vmevents" && !parts[4].empty()) {
    std::optional<std::string> cluster = NameOf(parts[2]);
    std::optional<std::string> node = NameOf(parts[3]);
    if (cluster && node && EscapeForTerminal(parts[4]) == parts[4]) {
      return FleetOrigin{*std::move(cluster), *std::move(node), std::string(parts[4])};
    }
  }
  return absl::InvalidArgumentError("its header ce-source does not name a node of vmeventd");
}

absl::Status ParsePayload(absl::string_view data, google::protobuf::Message* message) {
  // In protobuf's encoding no message of ours begins so: it would be the start of a group.
  if (absl::StartsWith(data, "{")) {
    google::protobuf::util::JsonParseOptions options;
    options.ignore_unknown_fields = true;
    const auto status =
        google::protobuf::util::JsonStringToMessage(std::string(data), message, options);
    if (status.ok()) return absl::OkStatus();
  } else if (message->ParseFromArray(data.data(), static_cast<int>(data.size()))) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("its payload is no ", message->GetDescriptor()->full_name()));
}

absl::StatusOr<FleetOrigin> ParseFleetMessage(const NatsMessage& from,
                                              google::protobuf::Message* message) {
  absl::StatusOr<FleetOrigin> origin = ParseOrigin(from.header("ce-source"));
  if (!origin.ok()) return origin;
  // "vmevents.v1.CLUSTER.NODE.VM.EVENT" or "$KV.BUCKET.CLUSTER.NODE..."
  const std::vector<absl::string_view> tokens =
      absl::StrSplit(from.subject(), absl::MaxSplits('.', 5));
  if (tokens.size() < 4 || NameOf(tokens[2]) != origin->cluster ||
      NameOf(tokens[3]) != origin->node) {
    return absl::InvalidArgumentError(absl::StrCat("its header ce-source names the node ",
                                                   origin->cluster, "/", origin->node,
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
