#include "client/sinks/event_json.h"

#include "client/output/json.h"

namespace vmeventd::client {

absl::StatusOr<nlohmann::ordered_json> EventJson(const NodeEvent& one) {
  const auto text = ToJson(one.event, one.node);
  if (!text.ok()) return text.status();
  nlohmann::ordered_json json;
  json["journal_id"] = one.node.journal_id;
  json.update(nlohmann::ordered_json::parse(*text));
  return json;
}

}  // namespace vmeventd::client
