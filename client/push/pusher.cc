#include "client/push/pusher.h"

#include <algorithm>
#include <optional>
#include <variant>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "client/fleet/fleet_message.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {

ExitCode DeliverBatches(Source* source, const BatchLimits& limits, WatchSink* to,
                        const std::function<bool()>& between) {
  constexpr absl::Duration kIdle = absl::Seconds(1);
  NodeEvents batch;
  size_t bytes = 0;
  absl::Time due = absl::InfiniteFuture();  // the batch waits until then
  const auto deliver = [&] {
    bytes = 0;
    due = absl::InfiniteFuture();
    return batch.empty() || to->OnEvents(std::exchange(batch, {}));
  };
  const auto add = [&](NodeEvent& event) {
    const size_t more = event.event.ByteSizeLong();
    if (bytes + more > limits.bytes && !deliver()) return false;
    if (batch.empty()) due = SteadyNow() + limits.time;
    bytes += more;
    batch.push_back(std::move(event));
    return batch.size() < limits.events || deliver();
  };
  for (bool wanted = true; wanted && between();) {
    const absl::Duration left = due - SteadyNow();
    Source::Item item = source->Next(std::clamp(left, absl::ZeroDuration(), kIdle));
    if (const auto* ended = std::get_if<Source::Ended>(&item)) {
      if (ended->code != ExitCode::kOk) (void)deliver();
      return ended->code;
    }
    if (auto* events = std::get_if<NodeEvents>(&item)) {
      wanted = std::all_of(events->begin(), events->end(), add);
    } else if (const auto* position = std::get_if<ServerPosition>(&item)) {
      const auto last = std::find_if(batch.rbegin(), batch.rend(), [&](const NodeEvent& event) {
        return event.resume_after.server == position->server;
      });
      if (last == batch.rend()) {
        wanted = to->OnPosition(*position);
      } else {
        last->resume_after = *position;
      }
    } else if (left <= absl::ZeroDuration()) {
      wanted = deliver();  // nothing more is there to be sent with it
    }
    if (wanted && SteadyNow() >= due + kIdle) wanted = deliver();  // what comes does not delay it
  }
  return ExitCode::kOk;
}

namespace {

using Json = nlohmann::ordered_json;

// The metrics' names, which are members of the state, and their help.
constexpr std::pair<const char*, const char*> kMetrics[] = {
    {"requests", "Requests that were answered 2xx."},
    {"delivered_events", "Events in these requests."},
    {"set_aside_events", "Events that the receiver rejected."},
    {"failures", "Requests that were not delivered."},
    {"gaps", "GAPs among the events."},
    {"last_success", "When a request was last answered 2xx; 0: never."},
    {"failing_since", "Start of the present failure to deliver; 0: none."},
    {"observed_until", "When the newest delivered or rejected event was observed; 0: none."},
    {"waiting_since", "When the oldest waiting event was observed; 0: none waits."}};

// The state by its members' names; times are texts.
Json JsonOf(const PushState& state) { return Json::parse(ToJson(state).value_or("{}")); }

// nullopt: it is no time.
std::optional<absl::Time> TimeOf(const Json& value) {
  absl::Time time;
  const bool is_time =
      value.is_string() &&
      absl::ParseTime(absl::RFC3339_full, value.get<std::string>(), &time, nullptr);
  return is_time ? std::optional(time) : std::nullopt;
}

std::string StateWord(const PushStatus& status) {
  if (status.running) return status.state.has_failing_since() ? "failing" : "running";
  return status.state.ended().empty() ? "stopped" : "ended";
}

Json PositionsOf(const PushStatus& status) {
  const Json cursor = Json::parse(status.positions, nullptr, /*allow_exceptions=*/false);
  return cursor.contains("positions") ? cursor.at("positions") : Json::array();
}

}  // namespace

absl::StatusOr<PushState> ParsePushState(absl::string_view text) {
  PushState state;
  if (absl::StartsWith(text, "{") && ParsePayload(text, &state).ok()) return state;
  return absl::InvalidArgumentError("is not the state of a push");
}

std::string MetricsOf(const PushState& state, absl::string_view name) {
  const std::string labels = absl::StrCat(
      "{push=\"", absl::StrReplaceAll(name, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}}),
      "\"}");
  const Json json = JsonOf(state);
  std::string text;
  for (const auto& [member, help] : kMetrics) {
    const Json value = json.value(member, Json());  // null: a time that is not set
    const std::string metric =
        absl::StrCat("vmevents_push_", member, value.is_number() ? "_total" : "_timestamp_seconds");
    const absl::Duration time = TimeOf(value).value_or(absl::UnixEpoch()) - absl::UnixEpoch();
    const double number = value.is_number() ? value.get<double>() : absl::ToDoubleSeconds(time);
    absl::StrAppend(&text, "# HELP ", metric, " ", help, "\n# TYPE ", metric,
                    value.is_number() ? " counter\n" : " gauge\n", metric, labels, " ",
                    absl::StrFormat("%.17g", number), "\n");
  }
  return text;
}

std::string StatusText(const PushStatus& status, absl::Time now, absl::TimeZone zone) {
  constexpr size_t kNameWidth = 16;
  FactList facts(Painter(false), kNameWidth);
  facts.Add("push", status.name);
  facts.Add("state", StateWord(status));
  for (const Json& position : PositionsOf(status)) {
    if (!position.is_object()) continue;
    const auto value = [&position](const char* name) {
      const auto found = position.find(name);
      return found != position.end() && found->is_string() ? found->get<std::string>() : "?";
    };
    facts.Add("position",
              absl::StrCat(value("sequence"), " of ", value("journal_id"), ", ", value("server")));
  }
  const Json json = JsonOf(status.state);
  for (const auto& [name, value] : json.items()) {
    std::string shown = value.is_string() ? value.get<std::string>() : value.dump();
    if (const auto time = TimeOf(value)) {
      shown = absl::StrCat(LocalTimeText(*time, zone), " (", DurationText(now - *time), " ago)");
    }
    facts.Add(absl::StrReplaceAll(name, {{"_", " "}}), shown);
  }
  if (status.set_aside_now > 0) {
    facts.Add("set aside now",
              absl::StrCat(Count(status.set_aside_now, "event"), " in ", status.set_aside_file));
  }
  return facts.Take();
}

std::string StatusJson(const PushStatus& status, absl::Time now) {
  const PushState& state = status.state;
  Json json = {{"push", status.name}, {"state", StateWord(status)}};
  json.update(JsonOf(state));
  json["positions"] = PositionsOf(status);
  json["set_aside_file"] = status.set_aside_file;
  json["set_aside_now"] = status.set_aside_now;
  if (state.has_waiting_since()) {
    json["lag_seconds"] = absl::ToInt64Seconds(now - FromProto(state.waiting_since()));
  } else if (status.running && !state.has_failing_since()) {
    json["lag_seconds"] = 0;
  }
  return JsonText(json);
}

void PushLog::Delivered(Formatter::Events events) {
  state_.set_requests(state_.requests() + 1);
  state_.set_delivered_events(state_.delivered_events() + static_cast<uint32_t>(events.size()));
  *state_.mutable_last_success() = ToProto(env_.now());
  Recovered();
  Done(events);
}

void PushLog::SetAside(Formatter::Events events, const std::string& reason) {
  state_.set_set_aside_events(state_.set_aside_events() + static_cast<uint32_t>(events.size()));
  NoteFailure(reason, "setting aside what it refuses");
  Done(events);
}

void PushLog::Failed(const std::string& reason) {
  state_.set_failures(state_.failures() + 1);
  *state_.mutable_last_error() = ToProto(env_.now());
  state_.set_error(reason);
}

bool PushLog::Retry(const std::string& reason, Formatter::Events events, absl::Duration at_least) {
  state_.set_error(reason);
  if (!state_.has_failing_since()) *state_.mutable_failing_since() = ToProto(env_.now());
  if (!events.empty()) *state_.mutable_waiting_since() = events.front().event.observe_time();
  NoteFailure(reason, "trying again");
  env_.report(state_);
  return env_.wait(std::max(backoff_.Next(env_.random()), at_least));
}

void PushLog::Recovered() {
  if (!state_.has_failing_since() && noted_.empty()) return;
  state_.clear_failing_since();
  backoff_.Reset();
  if (!noted_.empty()) env_.note(absl::StrCat(state_.target(), " accepts events again"));
  noted_.clear();
  env_.report(state_);
}

void PushLog::Loss(const std::string& why) {
  const bool lost = !why.empty();
  if (std::exchange(lost_, lost) == lost) return;
  if (!lost) return Recovered();
  state_.set_error(why);
  *state_.mutable_last_error() = ToProto(env_.now());
  if (!state_.has_failing_since()) *state_.mutable_failing_since() = state_.last_error();
  env_.report(state_);
}

void PushLog::Ended(const std::string& why) {
  state_.set_ended(why);
  env_.report(state_);
}

void PushLog::Done(Formatter::Events events) {
  for (const auto& [event, node, resume_after] : events) {
    if (event.type() == v1::EVENT_TYPE_GAP) state_.set_gaps(state_.gaps() + 1);
    if (FromProto(event.observe_time()) > FromProto(state_.observed_until())) {
      *state_.mutable_observed_until() = event.observe_time();
    }
  }
  state_.clear_waiting_since();
  backoff_.Reset();
  env_.report(state_);
}

void PushLog::NoteFailure(const std::string& reason, absl::string_view then) {
  if (reason == noted_) return;
  noted_ = reason;
  env_.note(absl::StrCat("cannot deliver to ", state_.target(), ": ", reason, " (", then, ")"));
}

absl::Status Pusher::Consume(Formatter::Events events) {
  size_t limit = env_.limit;
  while (!events.empty()) {
    const size_t count = std::min(limit, events.size());
    const absl::Status status = Send(events.first(count));
    if (absl::IsOutOfRange(status)) {
      limit = count / 2;
      continue;
    }
    if (!status.ok()) return status;
    events.remove_prefix(count);
    limit = std::min(2 * limit, env_.limit);
  }
  return absl::OkStatus();
}

namespace {

constexpr int kAboutEvents[] = {400, 413, 422};
constexpr int kGone = 410;

// Reason why it was not delivered, for people. One line, safe for a terminal.
std::string ReasonOf(const HttpAnswer& answer) {
  constexpr size_t kMaxOfBody = 300;
  if (answer.status == 0) return answer.fault;
  if (answer.status / 100 == 3) {
    return absl::StrCat("it answers ", answer.status,
                        ", a redirection, which is not followed; name the URL that it leads to");
  }
  const std::string body = EscapeForTerminal(
      absl::StripAsciiWhitespace(absl::string_view(answer.body).substr(0, kMaxOfBody)));
  return absl::StrCat("it answers ", answer.status, body.empty() ? "" : ": ", body);
}

}  // namespace

absl::Status Pusher::Send(Formatter::Events events) {
  const absl::Status too_many = absl::OutOfRangeError("too many events");
  const absl::StatusOr<PushBody> body = BodyOf(env_.format, env_.form, events);
  if (!body.ok()) {
    return events.size() > 1 ? too_many : SetAside(events, std::string(body.status().message()));
  }
  PushLog& log = *env_.log;
  while (true) {
    const HttpAnswer answer = env_.post(*body);
    if (answer.stopped) return absl::CancelledError("stopped");
    if (answer.status / 100 == 2) {
      log.Delivered(events);
      return absl::OkStatus();
    }
    std::string reason = ReasonOf(answer);
    log.Failed(reason);
    if (answer.status == kGone) {
      log.Ended(absl::StrCat(reason, " (Gone): it wants no more events"));
      return absl::NotFoundError(
          absl::StrCat(log.state().target(), ": ", log.state().ended(), "; delivery ends here"));
    }
    // About the events: one of them, or their number, is the cause. About anything else a person
    // repairs the receiver, its path or the credentials.
    if (absl::c_linear_search(kAboutEvents, answer.status)) {
      if (events.size() > 1) return too_many;
      absl::Status status = SetAside(events, reason);
      if (status.ok()) return status;
      absl::StrAppend(&reason, ", and the events cannot be set aside: ", status.message());
    }
    if (log.Retry(reason, events, std::min(answer.retry_after, kLongestRetryAfter))) {
      return absl::CancelledError("stopped");
    }
  }
}

absl::Status Pusher::SetAside(Formatter::Events events, const std::string& reason) {
  std::string lines;
  for (const NodeEvent& one : events) {
    lines += SetAsideLine(one, env_.log->state().target(), reason, absl::Now());
  }
  if (absl::Status status = env_.set_aside(lines); !status.ok()) return status;
  env_.log->SetAside(events, reason);
  return absl::OkStatus();
}

}  // namespace vmeventd::client
