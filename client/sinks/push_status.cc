#include "client/sinks/push_status.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "client/output/fact_list.h"
#include "client/output/json.h"
#include "client/output/painter.h"
#include "client/output/time_text.h"
#include "nlohmann/json.hpp"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

using Json = nlohmann::ordered_json;

Json StatusOf(const PushStatus& status, absl::Time now) {
  const PushState& state = status.state;
  const bool failing = state.has_failing_since();
  Json json = {{"push", status.name},
               {"state", status.running          ? (failing ? "failing" : "running")
                         : state.ended().empty() ? "stopped"
                                                 : "ended"}};
  json.update(Json::parse(ToJson(state).value_or("{}")));
  json["positions"] = Json::array();
  for (const auto& [server, at] : status.positions) {
    json["positions"].push_back({{"server", server},
                                 {"journal_id", at.journal_id},
                                 {"sequence", absl::StrCat(at.sequence)}});
  }
  json["set_aside_file"] = status.set_aside_file;
  json["set_aside_now"] = status.set_aside_now;
  if (state.has_waiting_since()) {
    json["lag_seconds"] = absl::ToInt64Seconds(now - FromTimestamp(state.waiting_since()));
  } else if (status.running && !failing) {
    json["lag_seconds"] = 0;
  }
  return json;
}

}  // namespace

std::string StatusJson(const PushStatus& status, absl::Time now) {
  return JsonText(StatusOf(status, now));
}

std::string StatusText(const PushStatus& status, absl::Time now, absl::TimeZone zone) {
  constexpr size_t kNameWidth = 16;
  FactList facts(Painter(false), kNameWidth);
  const Json json = StatusOf(status, now);
  for (const auto& [name, value] : json.items()) {
    if (value.is_array()) continue;
    std::string shown = value.is_string() ? value.get<std::string>() : value.dump();
    if (absl::Time time; absl::ParseTime(absl::RFC3339_full, shown, &time, nullptr)) {
      shown = absl::StrCat(LocalTimeText(time, zone), " (", DurationText(now - time), " ago)");
    }
    facts.Add(absl::StrReplaceAll(name, {{"_", " "}}), shown);
  }
  for (const auto& [server, at] : status.positions) {
    facts.Add("position", absl::StrCat(at.sequence, " of ", at.journal_id, ", ", server));
  }
  return facts.Take();
}

}  // namespace vmeventd::client
