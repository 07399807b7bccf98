#include "client/push/pusher.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "client/output/time_text.h"

namespace vmeventd::client {

bool Batcher::OnEvents(NodeEvents events) {
  std::unique_lock<std::mutex> lock(mutex_);
  for (NodeEvent& event : events) {
    const bool room = changed_.wait(lock, stop_, [this] {
      return items_.size() < limits_.waiting && bytes_ < limits_.waiting_bytes;
    });
    if (!room) return false;
    const size_t bytes = event.event.ByteSizeLong();
    bytes_ += bytes;
    items_.push_back({std::move(event), bytes, SteadyNow()});
    changed_.notify_all();
  }
  return true;
}

bool Batcher::OnPosition(const ServerPosition& position) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto last = std::find_if(items_.rbegin(), items_.rend(), [&position](const Item& item) {
    return item.event.resume_after.server == position.server;
  });
  // Covers all of this server's events.
  (last != items_.rend() ? last->event.resume_after : positions_[position.server]) = position;
  changed_.notify_all();
  return !stop_.stop_requested();
}

void Batcher::Close() {
  const std::lock_guard<std::mutex> lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

absl::Time Batcher::CompleteAt() const {
  if (items_.empty()) return absl::InfiniteFuture();
  const bool full = items_.size() >= limits_.events || bytes_ >= limits_.bytes;
  return closed_ || full ? absl::InfinitePast() : items_.front().arrival + limits_.time;
}

Batcher::Batch Batcher::Take() {
  std::unique_lock<std::mutex> lock(mutex_);
  Batch batch;
  const absl::Time idle = SteadyNow() + kIdle;
  while (CompleteAt() > SteadyNow()) {
    // A position alone waits for nothing, and the events behind it have their time.
    batch.positions = std::exchange(positions_, {});
    if (!batch.positions.empty() || closed_ || stop_.stop_requested() || idle <= SteadyNow()) {
      return batch;
    }
    const absl::Time at = CompleteAt();
    const auto sooner = [this, at] { return CompleteAt() < at || closed_ || !positions_.empty(); };
    changed_.wait_for(lock, stop_, absl::ToChronoNanoseconds(std::min(at, idle) - SteadyNow()),
                      sooner);
  }
  if (stop_.stop_requested()) return batch;
  batch.positions = std::exchange(positions_, {});
  for (size_t bytes = 0; !items_.empty(); items_.pop_front()) {
    const size_t more = items_.front().bytes;
    const bool fits = batch.events.size() < limits_.events && bytes + more <= limits_.bytes;
    if (!batch.events.empty() && !fits) break;
    bytes += more;
    bytes_ -= more;
    batch.events.push_back(std::move(items_.front().event));
  }
  changed_.notify_all();
  return batch;
}

bool Batcher::Ended() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return stop_.stop_requested() || (closed_ && items_.empty() && positions_.empty());
}

void Batcher::Run(WatchSink* to, const std::function<bool()>& between) {
  while (!Ended() && between()) {
    Batch batch = Take();
    for (const auto& [server, position] : batch.positions) {
      if (!to->OnPosition(position)) return;
    }
    if (!batch.events.empty() && !to->OnEvents(std::move(batch.events))) return;
  }
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

void PushLog::NoteRecovery() {
  state_.failing_since = absl::InfinitePast();
  if (!noted_.empty()) note_(absl::StrCat(state_.target, " accepts events again"));
  noted_.clear();
}

void PushLog::Ended(const std::string& why) {
  state_.ended = why;
  report_(state_);
}

void PushLog::SetStream(const std::string& created) {
  state_.stream = created;
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
  const size_t most = std::min(limit_, MostEventsOf(env_.format));
  size_t limit = most;
  while (!events.empty()) {
    const size_t count = std::min(limit, events.size());
    const absl::Status status = Send(events.first(count));
    if (absl::IsOutOfRange(status)) {
      limit = count / 2;
      continue;
    }
    if (!status.ok()) return status;
    events.remove_prefix(count);
    limit = std::min(2 * limit, most);
  }
  return absl::OkStatus();
}

absl::Status Pusher::Send(Formatter::Events events) {
  const absl::Status too_many = absl::OutOfRangeError("too many events");
  const absl::StatusOr<PushBody> body = BodyOf(env_.format, env_.form, events);
  if (!body.ok() && events.size() > 1) return too_many;
  if (!body.ok()) return SetAside(events, std::string(body.status().message()));
  PushLog& log = *env_.log;
  Backoff backoff(kFirstPause, kLongestPause);
  while (true) {
    const HttpAnswer answer = Post(*body);
    if (answer.stopped) return absl::CancelledError("stopped");
    std::string reason = ReasonOf(answer);
    const Verdict verdict = VerdictOn(answer, events.size());
    if (verdict == Verdict::kDelivered) {
      log.Delivered(events);
      return absl::OkStatus();
    }
    log.Failed(reason);
    if (verdict == Verdict::kSplit) return too_many;
    if (verdict == Verdict::kEnd) {
      log.Ended(absl::StrCat(reason, " (Gone): it wants no more events"));
      return absl::NotFoundError(
          absl::StrCat(log.state().target, ": ", log.state().ended, "; delivery ends here"));
    }
    if (verdict == Verdict::kSetAside) {
      absl::Status status = SetAside(events, reason);
      if (status.ok()) return status;
      absl::StrAppend(&reason, ", and the events cannot be set aside: ", status.message());
    }
    log.Waits(reason, events);
    absl::Duration pause = backoff.Next(env_.random());
    if (const auto asked = ParseRetryAfter(answer.retry_after, env_.now())) {
      pause = std::max(pause, *asked);
    }
    if (env_.wait(pause)) return absl::CancelledError("stopped");
  }
}

HttpAnswer Pusher::Post(const PushBody& body) {
  absl::StatusOr<Credentials> credentials = env_.credentials();
  if (!credentials.ok()) return {.fault = std::string(credentials.status().message())};
  std::vector<std::string>& headers = credentials->headers;
  headers.push_back(absl::StrCat("Content-Type: ", body.content_type));
  if (!credentials->secrets.empty()) {
    headers.push_back(absl::StrCat(kSignatureHeader, ": ",
                                   Signature(credentials->secrets, body.text, env_.now())));
  }
  return env_.post(body.text, headers);
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
