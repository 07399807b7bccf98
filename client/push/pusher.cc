#include "client/push/pusher.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "client/output/time_text.h"
#include "client/push/signature.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {

absl::Status Pusher::Consume(const Formatter::Events& events, const Formatter::Nodes& nodes) {
  const int most = MostEventsOf(env_.format);
  for (int begin = 0; begin < events.size(); begin += most) {
    const EventRange range = {&events, &nodes, begin, std::min(begin + most, events.size())};
    if (absl::Status status = Send(range); !status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Pusher::Send(const EventRange& range) {
  const absl::StatusOr<PushBody> body = BodyOf(env_.format, range, env_.alert_for);
  if (!body.ok()) return SetAside(range, std::string(body.status().message()));
  if (body->text.empty()) {
    state_.left_out += static_cast<uint64_t>(range.size());
    Done(range);
    return absl::OkStatus();
  }
  Backoff backoff(kFirstPause, kLongestPause);
  while (true) {
    const HttpAnswer answer = Post(*body);
    if (answer.stopped) return absl::CancelledError("stopped");
    std::string reason = ReasonOf(answer);
    const Verdict verdict = VerdictOn(answer, range.size());
    if (verdict == Verdict::kDelivered) {
      ++state_.requests;
      state_.delivered += static_cast<uint64_t>(range.size());
      state_.last_success = env_.now();
      state_.failing_since = absl::InfinitePast();
      if (!noted_.empty()) env_.note(absl::StrCat(state_.target, " takes events again"));
      noted_.clear();
      Done(range);
      return absl::OkStatus();
    }
    ++state_.failures;
    state_.last_error = env_.now();
    state_.error = reason;
    if (verdict == Verdict::kSplit) return Halve(range);
    if (verdict == Verdict::kEnd) {
      state_.ended = absl::StrCat(reason, " (Gone): it wants no more events");
      env_.report(state_);
      return absl::NotFoundError(
          absl::StrCat(state_.target, ": ", state_.ended, "; nothing is delivered from here on"));
    }
    if (verdict == Verdict::kSetAside) {
      absl::Status status = SetAside(range, reason);
      if (status.ok()) return status;
      absl::StrAppend(&reason, ", and the events cannot be set aside: ", status.message());
      state_.error = reason;
    }
    if (state_.failing_since == absl::InfinitePast()) state_.failing_since = state_.last_error;
    state_.waiting_since = FromProto(range.event(range.begin).observe_time());
    NoteFailure(reason, "trying again");
    env_.report(state_);
    absl::Duration pause = backoff.Next(env_.random());
    if (const auto asked = ParseRetryAfter(answer.retry_after, env_.now())) {
      pause = std::max(pause, *asked);
    }
    if (env_.wait(pause)) return absl::CancelledError("stopped");
  }
}

absl::Status Pusher::Halve(const EventRange& range) {
  EventRange first = range;
  EventRange second = range;
  first.end = second.begin = range.begin + range.size() / 2;
  const absl::Status status = Send(first);
  return status.ok() ? Send(second) : status;
}

HttpAnswer Pusher::Post(const PushBody& body) {
  std::vector<std::string> headers = env_.headers;
  headers.push_back(absl::StrCat("Content-Type: ", body.content_type));
  if (!env_.secrets.empty()) {
    headers.push_back(
        absl::StrCat(kSignatureHeader, ": ", Signature(env_.secrets, body.text, env_.now())));
  }
  return env_.post(body.text, headers);
}

absl::Status Pusher::SetAside(const EventRange& range, const std::string& reason) {
  std::string lines;
  for (int i = range.begin; i < range.end; ++i) {
    const absl::StatusOr<std::string> event = PushJson(range.event(i), range.node(i));
    const nlohmann::ordered_json head = {{"set_aside", Rfc3339Text(env_.now())},
                                         {"target", state_.target},
                                         {"reason", reason},
                                         {"source", SourceOf(range.node(i))},
                                         {"id", IdOf(range.event(i))}};
    constexpr auto kReplace = nlohmann::json::error_handler_t::replace;
    const std::string text = head.dump(-1, ' ', false, kReplace);
    absl::StrAppend(&lines, absl::string_view(text).substr(0, text.size() - 1),
                    ",\"event\":", event.ok() ? *event : "null", "}\n");
  }
  if (absl::Status status = env_.set_aside(lines); !status.ok()) return status;
  state_.set_aside += static_cast<uint64_t>(range.size());
  NoteFailure(reason, "setting aside what it refuses");
  Done(range);
  return absl::OkStatus();
}

void Pusher::Done(const EventRange& range) {
  for (int i = range.begin; i < range.end; ++i) {
    const v1::Event& event = range.event(i);
    if (event.type() == v1::EVENT_TYPE_GAP) ++state_.gaps;
    state_.observed_until = std::max(state_.observed_until, FromProto(event.observe_time()));
  }
  state_.waiting_since = absl::InfinitePast();
  env_.report(state_);
}

void Pusher::NoteFailure(const std::string& reason, absl::string_view then) {
  if (reason == noted_) return;
  noted_ = reason;
  env_.note(absl::StrCat("cannot deliver to ", state_.target, ": ", reason, " (", then, ")"));
}

}  // namespace vmeventd::client
