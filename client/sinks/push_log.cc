#include "client/sinks/push_log.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/output/terminal_text.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {

void PushLog::LeftOut(Formatter::Events events) {
  for (const NodeEvent& one : events) {
    env_.note(absl::StrCat("GAP: ", EscapeForTerminal(one.event.message())));
  }
  Done(events);
}

void PushLog::Delivered(Formatter::Events events) {
  state_.set_requests(state_.requests() + 1);
  state_.set_delivered_events(state_.delivered_events() + static_cast<uint32_t>(events.size()));
  *state_.mutable_last_success() = ToTimestamp(env_.now());
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
  *state_.mutable_last_error() = ToTimestamp(env_.now());
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
  if (!state_.has_failing_since() && reported_reason_.empty()) return;
  state_.clear_failing_since();
  backoff_.Reset();
  if (!reported_reason_.empty()) env_.note(absl::StrCat(state_.target(), " accepts events again"));
  reported_reason_.clear();
  env_.report(state_);
}

void PushLog::Loss(const std::string& why) {
  const bool lost = !why.empty();
  if (std::exchange(lost_, lost) == lost) return;
  state_.set_source_error(why);
  if (!lost) return Recovered();
  SetFailing(why);
}

void PushLog::SetFailing(const std::string& reason) {
  state_.set_error(reason);
  *state_.mutable_last_error() = ToTimestamp(env_.now());
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
    if (FromTimestamp(event.observe_time()) > FromTimestamp(state_.observed_until())) {
      *state_.mutable_observed_until() = event.observe_time();
    }
  }
  state_.clear_waiting_since();
  backoff_.Reset();
  env_.report(state_);
}

void PushLog::NoteFailure(const std::string& reason, absl::string_view then) {
  if (reason == reported_reason_) return;
  reported_reason_ = reason;
  env_.note(absl::StrCat("cannot deliver to ", state_.target(), ": ", reason, " (", then, ")"));
}

}  // namespace vmeventd::client
