#include <array>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "client/output/formatter.h"
#include "client/output/time_text.h"
#include "client/push/pusher.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {
namespace {

using Json = nlohmann::ordered_json;

// A member: its name in the file, and the help of its metric; null: it has none.
template <typename Value>
struct Member {
  const char* name;
  Value PushState::*value;
  const char* help;
};
constexpr Member<uint64_t> kCounts[] = {
    {"requests", &PushState::requests, "Requests that were answered 2xx."},
    {"delivered_events", &PushState::delivered, "Events in these requests."},
    {"set_aside_events", &PushState::set_aside, "Events that the receiver rejected."},
    {"failures", &PushState::failures, "Requests that were not delivered."},
    {"gaps", &PushState::gaps, "GAPs among the events."}};
constexpr Member<absl::Time> kTimes[] = {
    {"last_success", &PushState::last_success, "When a request was last answered 2xx; 0: never."},
    {"last_error", &PushState::last_error, nullptr},
    {"failing_since", &PushState::failing_since,
     "Start of the present failure to deliver; 0: none."},
    {"observed_until", &PushState::observed_until,
     "When the newest delivered or rejected event was observed; 0: there is none."},
    {"waiting_since", &PushState::waiting_since,
     "When the oldest waiting event was observed; 0: none waits."}};
constexpr std::pair<const char*, std::string PushState::*> kTexts[] = {
    {"target", &PushState::target},
    {"format", &PushState::format},
    {"error", &PushState::error},
    {"ended", &PushState::ended}};

bool IsSet(absl::Time time) { return time != absl::InfinitePast(); }

Json JsonOf(const PushState& state) {
  Json json;
  for (const auto& [name, member] : kTexts) json[name] = state.*member;
  for (const auto& [name, member, help] : kCounts) json[name] = state.*member;
  for (const auto& [name, member, help] : kTimes) {
    if (IsSet(state.*member)) {
      json[name] = absl::FormatTime(absl::RFC3339_full, state.*member, absl::UTCTimeZone());
    }
  }
  return json;
}

// "2026-07-01 12:00:00.123 (3m 5s ago)"
std::string TimeAndAge(absl::Time time, absl::Time now, absl::TimeZone zone) {
  if (!IsSet(time)) return "never";
  return absl::StrCat(LocalTimeText(time, zone), " (", DurationText(now - time), " ago)");
}

std::string StateWord(const PushStatus& status) {
  if (status.running) return IsSet(status.state.failing_since) ? "failing" : "running";
  return status.state.ended.empty() ? "stopped" : "ended";
}

Json PositionsOf(const PushStatus& status) {
  const Json cursor = Json::parse(status.positions, nullptr, /*allow_exceptions=*/false);
  const auto found = cursor.is_object() ? cursor.find("positions") : cursor.end();
  return cursor.is_object() && found != cursor.end() && found->is_array() ? *found : Json::array();
}

}  // namespace

std::string ToJson(const PushState& state) { return absl::StrCat(JsonText(JsonOf(state)), "\n"); }

absl::StatusOr<PushState> ParsePushState(absl::string_view text) {
  const absl::Status fault = absl::InvalidArgumentError("is not the state of a push");
  PushState state;
  try {
    const Json json = Json::parse(text);
    for (const auto& [name, member] : kTexts) json.at(name).get_to(state.*member);
    for (const auto& [name, member, help] : kCounts) json.at(name).get_to(state.*member);
    for (const auto& [name, member, help] : kTimes) {
      const std::string time = json.value(name, absl::FormatTime(absl::InfinitePast()));
      if (!absl::ParseTime(absl::RFC3339_full, time, &(state.*member), nullptr)) return fault;
    }
  } catch (const Json::exception&) {
    return fault;
  }
  return state;
}

std::string MetricsOf(const PushState& state, absl::string_view name) {
  const std::string labels = absl::StrCat(
      "{push=\"", absl::StrReplaceAll(name, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}}),
      "\"}");
  std::string text;
  const auto add = [&](const std::string& metric, const char* type, const char* help,
                       double value) {
    absl::StrAppend(&text, "# HELP vmevents_push_", metric, " ", help, "\n# TYPE vmevents_push_",
                    metric, " ", type, "\nvmevents_push_", metric, labels, " ",
                    absl::StrFormat("%.17g", value), "\n");
  };
  for (const auto& [metric, member, help] : kCounts) {
    add(absl::StrCat(metric, "_total"), "counter", help, static_cast<double>(state.*member));
  }
  for (const auto& [metric, member, help] : kTimes) {
    if (help == nullptr) continue;
    const absl::Time time = state.*member;
    add(absl::StrCat(metric, "_timestamp_seconds"), "gauge", help,
        IsSet(time) ? absl::ToDoubleSeconds(time - absl::UnixEpoch()) : 0);
  }
  return text;
}

std::string StatusText(const PushStatus& status, absl::Time now, absl::TimeZone zone) {
  const PushState& state = status.state;
  std::string text;
  const auto add = [&text](const char* name, const std::string& value) {
    absl::StrAppend(&text, absl::StrFormat("%-14s", name), value, "\n");
  };
  add("push", EscapeForTerminal(status.name));
  add("target", EscapeForTerminal(absl::StrCat(state.target, " (", state.format, ")")));
  std::string word = StateWord(status);
  if (word == "failing") {
    absl::StrAppend(&word, " for ", DurationText(now - state.failing_since), ": ", state.error);
  } else if (word == "ended") {
    absl::StrAppend(&word, ": ", state.ended);
  }
  add("state", EscapeForTerminal(word));
  for (const Json& position : PositionsOf(status)) {
    if (!position.is_object()) continue;
    const auto value = [&position](const char* name) {
      const auto found = position.find(name);
      return found != position.end() && found->is_string() ? found->get<std::string>() : "?";
    };
    add("position", EscapeForTerminal(absl::StrCat(value("sequence"), " of ", value("journal_id"),
                                                   ", ", value("server"))));
  }
  add("last success", TimeAndAge(state.last_success, now, zone));
  add("last error",
      TimeAndAge(state.last_error, now, zone) +
          (state.error.empty() ? "" : absl::StrCat(": ", EscapeForTerminal(state.error))));
  add("delivered",
      absl::StrCat(Count(state.delivered, "event"), " in ", Count(state.requests, "request")));
  add("set aside",
      absl::StrCat(status.set_aside_now == 0
                       ? "none"
                       : absl::StrCat(Count(status.set_aside_now, "event"), " in ",
                                      EscapeForTerminal(status.set_aside_file)),
                   state.set_aside == 0 ? "" : absl::StrCat(" (", state.set_aside, " in all)")));
  if (state.gaps > 0) add("gaps", absl::StrCat(state.gaps));
  add("lag",
      IsSet(state.waiting_since)
          ? absl::StrCat("an event of ", TimeAndAge(state.waiting_since, now, zone), " waits")
      : !status.running                   ? "not known while it is stopped"
      : IsSet(status.state.failing_since) ? "not known while it fails"
                                          : "none");
  return text;
}

std::string StatusJson(const PushStatus& status, absl::Time now) {
  Json json = {{"push", status.name}, {"state", StateWord(status)}};
  json.update(JsonOf(status.state));
  json["positions"] = PositionsOf(status);
  json["set_aside_file"] = status.set_aside_file;
  json["set_aside_now"] = status.set_aside_now;
  if (IsSet(status.state.waiting_since)) {
    json["lag_seconds"] = absl::ToInt64Seconds(now - status.state.waiting_since);
  } else if (status.running && !IsSet(status.state.failing_since)) {
    json["lag_seconds"] = 0;
  }
  return JsonText(json);
}

}  // namespace vmeventd::client
