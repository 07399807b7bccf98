#include "client/push/pusher.h"

#include <algorithm>
#include <utility>
#include <variant>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"

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

void PushLog::Delivered(Formatter::Events events) {
  ++state_.requests;
  state_.delivered += events.size();
  state_.last_success = now_();
  NoteRecovery();
  Done(events);
}

void PushLog::SetAside(Formatter::Events events, const std::string& reason) {
  state_.set_aside += events.size();
  NoteFailure(reason, "setting aside what it refuses");
  Done(events);
}

void PushLog::Failed(const std::string& reason) {
  ++state_.failures;
  state_.last_error = now_();
  state_.error = reason;
}

void PushLog::Waits(const std::string& reason, Formatter::Events events) {
  state_.error = reason;
  if (state_.failing_since == absl::InfinitePast()) state_.failing_since = now_();
  if (!events.empty()) state_.waiting_since = FromProto(events.front().event.observe_time());
  NoteFailure(reason, "trying again");
  report_(state_);
}

void PushLog::Recovered() {
  if (state_.failing_since == absl::InfinitePast()) return;
  NoteRecovery();
  report_(state_);
}

void PushLog::Loss(const std::string& why) {
  constexpr absl::Duration kPatience = absl::Seconds(5);
  if (why.empty()) {
    const absl::Time since = std::exchange(lost_since_, absl::InfinitePast());
    if (state_.failing_since == since) Recovered();
    return;
  }
  const absl::Time now = now_();
  if (lost_since_ == absl::InfinitePast()) lost_since_ = now;
  if (state_.failing_since != absl::InfinitePast() || now - lost_since_ < kPatience) return;
  state_.failing_since = lost_since_;
  state_.last_error = now;
  state_.error = why;
  report_(state_);
}

void PushLog::NoteRecovery() {
  state_.failing_since = absl::InfinitePast();
  if (!noted_.empty()) note_(absl::StrCat(state_.target, " accepts events again"));
  noted_.clear();
}

void PushLog::Ended(const std::string& why) {
  state_.ended = why;
  report_(state_);
}

void PushLog::Done(Formatter::Events events) {
  for (const auto& [event, node, resume_after] : events) {
    if (event.type() == v1::EVENT_TYPE_GAP) ++state_.gaps;
    state_.observed_until = std::max(state_.observed_until, FromProto(event.observe_time()));
  }
  state_.waiting_since = absl::InfinitePast();
  report_(state_);
}

void PushLog::NoteFailure(const std::string& reason, absl::string_view then) {
  if (reason == noted_) return;
  noted_ = reason;
  note_(absl::StrCat("cannot deliver to ", state_.target, ": ", reason, " (", then, ")"));
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

constexpr int kBadRequest = 400;
constexpr int kGone = 410;
constexpr int kTooLarge = 413;
constexpr int kUnprocessable = 422;

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
  if (!body.ok() && events.size() > 1) return too_many;
  if (!body.ok()) return SetAside(events, std::string(body.status().message()));
  PushLog& log = *env_.log;
  Backoff backoff(kFirstPause, kLongestPause);
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
          absl::StrCat(log.state().target, ": ", log.state().ended, "; delivery ends here"));
    }
    // About the events: one of them, or their number, is the cause. About anything else a person
    // repairs the receiver, its path or the credentials.
    if (answer.status == kBadRequest || answer.status == kTooLarge ||
        answer.status == kUnprocessable) {
      if (events.size() > 1) return too_many;
      absl::Status status = SetAside(events, reason);
      if (status.ok()) return status;
      absl::StrAppend(&reason, ", and the events cannot be set aside: ", status.message());
    }
    log.Waits(reason, events);
    const absl::Duration asked = std::min(answer.retry_after, kLongestRetryAfter);
    const absl::Duration pause = std::max(backoff.Next(env_.random()), asked);
    if (env_.wait(pause)) return absl::CancelledError("stopped");
  }
}

absl::Status Pusher::SetAside(Formatter::Events events, const std::string& reason) {
  std::string lines;
  for (const NodeEvent& one : events) {
    lines += SetAsideLine(one, env_.log->state().target, reason, env_.now());
  }
  if (absl::Status status = env_.set_aside(lines); !status.ok()) return status;
  env_.log->SetAside(events, reason);
  return absl::OkStatus();
}

}  // namespace vmeventd::client
