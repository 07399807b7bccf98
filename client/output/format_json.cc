#include "client/output/format_json.h"

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {
absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message,
                                   absl::string_view node) {
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
  if (node.empty()) return json;
  const std::string name = nlohmann::json(std::string(node)).dump();
  return absl::StrCat("{\"node\":", name, json == "{}" ? "" : ",", json.substr(1));
}

std::string JsonFormatter::Show(const std::string& json) const { return json + "\n"; }

template <typename Messages>
absl::StatusOr<std::string> JsonFormatter::Each(const Messages& messages,
                                                const Nodes& nodes) const {
  std::string out;
  size_t index = 0;
  for (const auto& message : messages) {
    const absl::StatusOr<std::string> json = ToJson(message, nodes.empty() ? "" : nodes[index++]);
    if (!json.ok()) return json.status();
    out += Show(*json);
  }
  return out;
}

absl::StatusOr<std::string> JsonFormatter::One(const google::protobuf::Message& message) const {
  const absl::StatusOr<std::string> json = ToJson(message);
  if (!json.ok()) return json.status();
  return Show(*json);
}

absl::StatusOr<std::string> JsonFormatter::FormatEvents(const Events& events, const Nodes& nodes) {
  return Each(events, nodes);
}
absl::StatusOr<std::string> JsonFormatter::FormatVms(const Vms& vms, const Nodes& nodes) {
  return Each(vms, nodes);
}
absl::StatusOr<std::string> JsonFormatter::FormatVm(const v1::Vm& vm) { return One(vm); }
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

}  // namespace vmeventd::client
