#ifndef VMEVENTD_CLIENT_PUSH_PUSHER_H_
#define VMEVENTD_CLIENT_PUSH_PUSHER_H_

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/connect/backoff.h"
#include "client/consume/event_consumer.h"
#include "client/push/format.h"
#include "client/push/push_state.h"
#include "client/push/verdict.h"

namespace vmeventd::client {

// Delivers events by requests: returns once each event was acknowledged or durably set aside, so
// that a cursor may pass it. Repeats what fails, for ever. One thread.
class Pusher : public EventConsumer {
 public:
  static constexpr absl::Duration kFirstPause = absl::Seconds(1);
  static constexpr absl::Duration kLongestPause = absl::Minutes(5);

  struct Environment {
    PushFormat format = PushFormat::kCloudEvents;
    absl::Duration alert_for;
    std::vector<std::string> headers;  // lines, beside Content-Type and the signature
    std::vector<std::string> secrets;  // empty: no signature
    std::function<HttpAnswer(const std::string& body, const std::vector<std::string>& headers)>
        post;
    std::function<absl::Status(const std::string& lines)> set_aside;
    // Waits before the next attempt; returns whether to stop instead.
    std::function<bool(absl::Duration)> wait;
    // The state has changed.
    std::function<void(const PushState&)> report;
    // Prints a sentence, safe for a terminal, to stderr.
    std::function<void(const std::string&)> note;
    std::function<absl::Time()> now;
    std::function<double()> random = RandomFraction;
  };
  // Continues the counts of `state`.
  Pusher(PushState state, Environment environment)
      : state_(std::move(state)), env_(std::move(environment)) {}

  absl::Status Begin() override { return absl::OkStatus(); }
  absl::Status ConsumeVms(const Formatter::Vms& /*vms*/,
                          const Formatter::Nodes& /*nodes*/) override {
    return absl::OkStatus();  // a push begins with no snapshot
  }
  // CANCELLED: it was stopped. NOT_FOUND: the receiver wants no more (410).
  absl::Status Consume(const Formatter::Events& events, const Formatter::Nodes& nodes) override;
  bool one_by_one() const override { return false; }

  const PushState& state() const { return state_; }

 private:
  absl::Status Send(const EventRange& range);
  absl::Status Halve(const EventRange& range);
  HttpAnswer Post(const PushBody& body);
  absl::Status SetAside(const EventRange& range, const std::string& reason);
  // The events are done with.
  void Done(const EventRange& range);
  void NoteFailure(const std::string& reason, absl::string_view then);

  PushState state_;
  const Environment env_;
  std::string noted_;  // the reason that was noted since the last success
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_PUSH_PUSHER_H_
