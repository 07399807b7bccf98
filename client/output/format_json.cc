#include "client/output/format_json.h"

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "client/output/fleet_nodes.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {
absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message,
                                   const MessageNode& node) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto status = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (!status.ok()) {
    return absl::InternalError(
        absl::StrCat("a ", message.GetDescriptor()->name(),
                     " of the server cannot be written as JSON: ", std::string(status.message())));
  }
  if (node.name.empty()) return json;
  const auto text = [](const std::string& name) {
    constexpr auto kReplace = nlohmann::json::error_handler_t::replace;  // what is not UTF-8
    return nlohmann::json(name).dump(-1, ' ', false, kReplace);
  };
  return absl::StrCat(
      "{", node.cluster.empty() ? "" : absl::StrCat("\"cluster\":", text(node.cluster), ","),
      "\"node\":", text(node.name), json == "{}" ? "" : ",", json.substr(1));
}

std::string JsonFormatter::Show(const std::string& json) const { return json + "\n"; }

template <typename Messages>
absl::StatusOr<std::string> JsonFormatter::Each(const Messages& messages,
                                                const Nodes& nodes) const {
  std::string out;
  size_t index = 0;
  for (const auto& message : messages) {
    const absl::StatusOr<std::string> json =
        ToJson(message, nodes.empty() ? MessageNode() : nodes[index++]);
    if (!json.ok()) return json.status();
    out += Show(*json);
  }
  return out;
}

absl::StatusOr<std::string> JsonFormatter::One(const google::protobuf::Message& message,
                                               const MessageNode& node) const {
  const absl::StatusOr<std::string> json = ToJson(message, node);
  if (!json.ok()) return json.status();
  return Show(*json);
}

absl::StatusOr<std::string> JsonFormatter::FormatEvents(const Events& events, const Nodes& nodes) {
  return Each(events, nodes);
}
absl::StatusOr<std::string> JsonFormatter::FormatVms(const Vms& vms, const Nodes& nodes) {
  return Each(vms, nodes);
}
absl::StatusOr<std::string> JsonFormatter::FormatVm(const v1::Vm& vm, const Nodes& nodes) {
  return One(vm, nodes.empty() ? MessageNode() : nodes.front());
}
absl::StatusOr<std::string> JsonFormatter::FormatIntent(const v1::Intent& intent) {
  return One(intent);
}
absl::StatusOr<std::string> JsonFormatter::FormatIntents(const Vms& vms) { return Each(vms, {}); }
absl::StatusOr<std::string> JsonFormatter::FormatInfo(const v1::GetServerInfoResponse& info) {
  return One(info);
}
absl::StatusOr<std::string> JsonFormatter::FormatHealth(const Health& health) {
  return One(health);
}

absl::StatusOr<std::string> JsonFormatter::FormatFleet(const Heartbeats& nodes, absl::Time now) {
  std::string out;
  for (const v1::NodeHeartbeat& node : nodes) {
    const absl::StatusOr<std::string> json = ToJson(node);
    if (!json.ok()) return json.status();
    const absl::string_view members = *json;
    out += Show(absl::StrCat(members.substr(0, members.size() - 1), ",\"lag\":\"", LagOf(node),
                             "\",\"state\":\"", StateName(StateOf(node, now)), "\"}"));
  }
  return out;
}

}  // namespace vmeventd::client
