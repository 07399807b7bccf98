#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "client/output/json.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"
#include "client/push/push.h"
#include "nlohmann/json.hpp"

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
    json["lag_seconds"] = absl::ToInt64Seconds(now - FromProto(state.waiting_since()));
  } else if (status.running && !failing) {
    json["lag_seconds"] = 0;
  }
  return json;
}

}  // namespace

std::string MetricsOf(const PushState& state, absl::string_view name) {
  const std::string labels = absl::StrCat(
      "{push=\"", absl::StrReplaceAll(name, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", "\\n"}}),
      "\"}");
  const auto* const reflection = state.GetReflection();
  std::string text;
  for (int i = 0; i < PushState::descriptor()->field_count(); ++i) {
    const auto* const field = PushState::descriptor()->field(i);
    if (field->cpp_type() == field->CPPTYPE_STRING) continue;
    const bool counts = field->cpp_type() == field->CPPTYPE_UINT32;
    const std::string metric = absl::StrCat("vmevents_push_", std::string(field->name()),
                                            counts ? "_total" : "_timestamp_seconds");
    google::protobuf::Timestamp time;  // the epoch, if it is unset
    if (!counts) time.CopyFrom(reflection->GetMessage(state, field));
    const double seconds = absl::ToDoubleSeconds(FromProto(time) - absl::UnixEpoch());
    absl::StrAppend(
        &text, "# TYPE ", metric, counts ? " counter\n" : " gauge\n", metric, labels, " ",
        absl::StrFormat("%.17g", counts ? reflection->GetUInt32(state, field) : seconds), "\n");
  }
  return text;
}

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

void PushLog::LeftOut(Formatter::Events events) {
  for (const NodeEvent& one : events) {
    env_.note(absl::StrCat("GAP: ", EscapeForTerminal(one.event.message())));
  }
  Done(events);
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
  if (!events.empty()) *state_.mutable_waiting_since() = events.front().event.observe_time();
  NoteFailure(reason, "trying again");
  SetFailing(reason);
  return env_.wait(std::max(backoff_.Next(env_.random()), at_least));
}

void PushLog::Warn(const std::string& warning) {
  if (state_.warning() == warning) return;
  state_.set_warning(warning);
  if (!warning.empty()) env_.note(warning);
  env_.report(state_);
}

void PushLog::Recovered() {
  state_.clear_error();
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
  SetFailing(why);
}

void PushLog::SetFailing(const std::string& reason) {
  state_.set_error(reason);
  *state_.mutable_last_error() = ToProto(env_.now());
  if (!state_.has_failing_since()) *state_.mutable_failing_since() = state_.last_error();
  env_.report(state_);
}

void PushLog::Ended(const std::string& why) {
  env_.note(absl::StrCat(state_.target(), ": ", why, "; delivery ends here"));
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
  const auto is_left_out = [this](const NodeEvent& one) { return !gaps_ && !one.event.has_vm(); };
  size_t limit = limit_;
  while (!events.empty()) {
    if (is_left_out(events.front())) {
      log_->LeftOut(events.first(1));
      events.remove_prefix(1);
      continue;
    }
    const auto together = events.first(std::min(limit, events.size()));
    const size_t count =
        static_cast<size_t>(absl::c_find_if(together, is_left_out) - together.begin());
    const absl::Status status = Send(events.first(count));
    if (absl::IsOutOfRange(status)) {
      limit = count / 2;
      continue;
    }
    if (!status.ok()) return status;
    events.remove_prefix(count);
    limit = std::min(2 * limit, limit_);
  }
  return absl::OkStatus();
}

namespace {

constexpr int kAboutEvents[] = {400, 413, 422};
constexpr int kGone = 410;

}  // namespace

std::string ReasonOf(const HttpAnswer& answer) {
  constexpr size_t kMaxOfBody = 300;
  if (answer.status == 0) return answer.fault;
  if (answer.status / 100 == 3) {
    return absl::StrCat("it answers ", answer.status, ", a redirection",
                        answer.redirection.empty() ? "" : " to ", answer.redirection,
                        ", which is not followed; name the URL that it leads to");
  }
  const std::string body = EscapeForTerminal(
      absl::StripAsciiWhitespace(absl::string_view(answer.body).substr(0, kMaxOfBody)));
  return absl::StrCat("it answers ", answer.status, body.empty() ? "" : ": ", body);
}

absl::Status Pusher::Send(Formatter::Events events) {
  const absl::Status too_many = absl::OutOfRangeError("too many events");
  const absl::StatusOr<PushBody> body = BodyOf(format_, form_, events);
  if (!body.ok()) {
    return events.size() > 1 ? too_many : SetAside(events, std::string(body.status().message()));
  }
  PushLog& log = *log_;
  while (true) {
    const HttpAnswer answer = Post(*body);
    if (answer.stopped) return absl::CancelledError("stopped");
    if (answer.status / 100 == 2) {
      log.Delivered(events);
      return absl::OkStatus();
    }
    std::string reason = ReasonOf(answer);
    log.Failed(reason);
    if (answer.status == kGone) {
      log.Ended(absl::StrCat(reason, " (Gone): it wants no more events"));
      return absl::CancelledError("gone");
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
    lines += SetAsideLine(one, log_->state().target(), reason, absl::Now());
  }
  if (absl::Status status = Append(lines); !status.ok()) return status;
  log_->SetAside(events, reason);
  return absl::OkStatus();
}

}  // namespace vmeventd::client
