#include "client/output/json.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
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
  return ObjectOf({{"cluster", node.cluster.empty() ? "" : JsonText(node.cluster)},
                   {"node", JsonText(node.name)},
                   {"stale", node.stale_since ? "true" : ""},
                   {"", json}});
}

std::string JsonText(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

absl::StatusOr<std::string> ObjectOf(const Members& members) {
  std::vector<std::string> texts;
  for (const auto& [name, value] : members) {
    if (!value.ok()) return value;
    if (!name.empty() && !value->empty()) {
      texts.push_back(absl::StrCat("\"", name, "\":", *value));
    } else if (name.empty() && *value != "{}") {
      texts.push_back(value->substr(1, value->size() - 2));
    }
  }
  return absl::StrCat("{", absl::StrJoin(texts, ","), "}");
}

}  // namespace vmeventd::client
