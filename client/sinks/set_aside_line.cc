#include "client/sinks/set_aside_line.h"

#include "absl/status/status.h"
#include "client/fleet/cloud_event.h"
#include "client/fleet/fleet_message.h"
#include "client/output/json.h"
#include "client/output/time_text.h"
#include "client/sinks/event_json.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {
namespace {

using Json = nlohmann::ordered_json;

}  // namespace

std::string SetAsideLine(const NodeEvent& one, absl::string_view target, absl::string_view reason,
                         absl::Time now) {
  const absl::StatusOr<Json> event = EventJson(one);
  const Json line = {{"set_aside", Rfc3339Text(now)}, {"target", std::string(target)},
                     {"reason", std::string(reason)}, {"source", SourceOf(one.node)},
                     {"id", IdOf(one.event)},         {"event", event.value_or(Json())}};
  return JsonText(line) + "\n";
}

absl::StatusOr<NodeEvent> ParseSetAside(absl::string_view line) {
  try {
    const Json event = Json::parse(line).at("event");
    NodeEvent one = {
        {},
        {event.value("node", ""), event.value("cluster", ""), event.value("journal_id", ""), {}},
        {}};
    if (ParsePayload(event.dump(), &one.event).ok()) return one;
  } catch (const Json::exception&) {
    // JSON of another form is not such a line either.
  }
  return absl::InvalidArgumentError("has a line without an event");
}

}  // namespace vmeventd::client
