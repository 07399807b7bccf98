#include "client/push/pusher.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "client/output/time_text.h"

namespace vmeventd::client {

bool Batcher::OnEvents(NodeEvents events) {
  return std::all_of(events.begin(), events.end(), [this](NodeEvent& event) {
    const size_t bytes = std::max<size_t>(event.event.ByteSizeLong(), 1);
    return Add({std::move(event), bytes, absl::Time()});
  });
}

bool Batcher::Add(Item item) {
  std::unique_lock<std::mutex> lock(mutex_);
  const bool room = changed_.wait(
      lock, stop_, [this] { return events_ < limits_.waiting && bytes_ < limits_.waiting_bytes; });
  if (!room) return false;
  ++events_;
  bytes_ += item.bytes;
  items_.push_back(std::move(item));
  items_.back().arrival = SteadyNow();
  changed_.notify_all();
  return true;
}

bool Batcher::OnPosition(const ServerPosition& position) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto last = std::find_if(items_.rbegin(), items_.rend(), [&position](const Item& item) {
    return item.event.resume_after.server == position.server;
  });
  if (last != items_.rend()) {
    last->event.resume_after = position;  // covers all of this server's events
  } else {
    items_.push_back({{{}, {}, position}, 0, absl::InfinitePast()});
    changed_.notify_all();
  }
  return !stop_.stop_requested();
}

void Batcher::Close() {
  const std::lock_guard<std::mutex> lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

absl::Time Batcher::CompleteAt() const {
  if (items_.empty()) return absl::InfiniteFuture();
  if (closed_ || events_ >= limits_.events || bytes_ >= limits_.bytes) return absl::InfinitePast();
  return items_.front().arrival + limits_.time;
}

std::vector<Batcher::Item> Batcher::Take() {
  std::unique_lock<std::mutex> lock(mutex_);
  const absl::Time idle = SteadyNow() + kIdle;
  while (!stop_.stop_requested()) {
    const absl::Time at = CompleteAt();
    if (at <= SteadyNow() || (closed_ && items_.empty())) break;
    if (idle <= SteadyNow()) return {};
    const auto sooner = [this, at] { return CompleteAt() < at || closed_; };
    changed_.wait_for(lock, stop_, absl::ToChronoNanoseconds(std::min(at, idle) - SteadyNow()),
                      sooner);
  }
  std::vector<Item> batch;
  size_t events = 0;
  size_t bytes = 0;
  while (!stop_.stop_requested() && !items_.empty()) {
    const Item& next = items_.front();
    // A position alone waits for nothing, and the events behind it have their time.
    const bool fits = events == 0 ? batch.empty()
                                  : events < limits_.events && bytes + next.bytes <= limits_.bytes;
    if (next.bytes > 0 && !fits) break;
    events += next.bytes > 0 ? 1 : 0;
    bytes += next.bytes;
    batch.push_back(std::move(items_.front()));
    items_.pop_front();
  }
  events_ -= events;
  bytes_ -= bytes;
  changed_.notify_all();
  return batch;
}

bool Batcher::Ended() {
  const std::lock_guard<std::mutex> lock(mutex_);
  return stop_.stop_requested() || (closed_ && items_.empty());
}

void Batcher::Run(WatchSink* to, const std::function<bool()>& between) {
  while (!Ended() && between()) {
    std::vector<Item> batch = Take();
    NodeEvents events;
    std::map<size_t, ServerPosition> positions;
    for (Item& item : batch) {
      positions[item.event.resume_after.server] = item.event.resume_after;
      if (item.bytes > 0) events.push_back(std::move(item.event));
    }
    if (!events.empty() && !to->OnEvents(std::move(events))) return;
    for (const auto& [server, position] : positions) {
      if (!to->OnPosition(position)) return;
    }
  }
}

void PushLog::Delivered(Formatter::Events events) {
  ++state_.requests;
  state_.delivered += events.size();
  state_.last_success = now_();
  state_.failing_since = absl::InfinitePast();
  if (!noted_.empty()) note_(absl::StrCat(state_.target, " takes events again"));
  noted_.clear();
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
      return absl::NotFoundError(absl::StrCat(log.state().target, ": ", log.state().ended,
                                              "; nothing is delivered from here on"));
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
