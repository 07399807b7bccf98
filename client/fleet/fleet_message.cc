#include "client/fleet/fleet_message.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/nats/subject.h"
#include "google/protobuf/util/json_util.h"

namespace vmeventd::client {
namespace {

std::string NameOf(absl::string_view token) {
  return UnescapeToken(token).value_or(std::string(token));
}

}  // namespace

absl::StatusOr<FleetOrigin> ParseOrigin(absl::string_view source) {
  const std::vector<absl::string_view> parts = absl::StrSplit(source, '/');
  if (parts.size() != 5 || !parts[0].empty() || parts[1] != "vmevents" || parts[4].empty()) {
    return absl::InvalidArgumentError("its header ce-source does not name a node of vmeventd");
  }
  return FleetOrigin{NameOf(parts[2]), NameOf(parts[3]), std::string(parts[4])};
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
  if (absl::Status status = ParsePayload(from.data(), message); !status.ok()) return status;
  return origin;
}

}  // namespace vmeventd::client
