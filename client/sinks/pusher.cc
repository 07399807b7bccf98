#include "client/sinks/pusher.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/sinks/set_aside_line.h"

namespace vmeventd::client {
namespace {

constexpr int kAboutEvents[] = {400, 413, 422};
constexpr int kGone = 410;

}  // namespace

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
    // These statuses reject the events: one of them, or their number. Any other failure needs a
    // person who fixes the receiver, its path or the credentials.
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
