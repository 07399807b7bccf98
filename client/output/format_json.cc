#include "client/output/format_json.h"

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {
namespace {

template <typename Messages>
absl::StatusOr<std::string> Lines(const Messages& messages, const Formatter::Nodes& nodes) {
  std::string out;
  size_t index = 0;
  for (const auto& message : messages) {
    const absl::StatusOr<std::string> json = ToJson(message, nodes.empty() ? "" : nodes[index++]);
    if (!json.ok()) return json.status();
    absl::StrAppend(&out, *json, "\n");
  }
  return out;
}

absl::StatusOr<std::string> Line(const google::protobuf::Message& message) {
  absl::StatusOr<std::string> json = ToJson(message);
  if (json.ok()) absl::StrAppend(&*json, "\n");
  return json;
}

}  // namespace

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

absl::StatusOr<std::string> JsonFormatter::FormatEvents(const Events& events, const Nodes& nodes) {
  return Lines(events, nodes);
}
absl::StatusOr<std::string> JsonFormatter::FormatVms(const Vms& vms, const Nodes& nodes) {
  return Lines(vms, nodes);
}
absl::StatusOr<std::string> JsonFormatter::FormatVm(const v1::Vm& vm) { return Line(vm); }
absl::StatusOr<std::string> JsonFormatter::FormatIntent(const v1::Intent& intent) {
  return Line(intent);
}
absl::StatusOr<std::string> JsonFormatter::FormatIntents(const Vms& vms) { return Lines(vms, {}); }
absl::StatusOr<std::string> JsonFormatter::FormatInfo(const v1::GetServerInfoResponse& info) {
  return Line(info);
}
absl::StatusOr<std::string> JsonFormatter::FormatHealth(const Health& health) {
  return Line(health);
}

}  // namespace vmeventd::client
