#pragma once

#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/output/formatter.h"
#include "client/sinks/http.h"
#include "client/sinks/push_body.h"
#include "client/sinks/push_command.h"
#include "client/sinks/push_log.h"
#include "client/sinks/sink.h"

namespace vmeventd::client {

// Delivers events by requests. Repeats a failed request without limit, except after 410 (the push
// ends) and after 400, 413 and 422 (it sends fewer events at once, or sets the one event aside).
class Pusher : public EventSink {
 public:
  // The longest pause that a receiver can request.
  static constexpr absl::Duration kLongestRetryAfter = absl::Hours(1);

  // `limit`: maximum number of events in a request. `form`: see BodyOf(). `gaps`: sends GAPs of the
  // whole node. `log` must outlive the pusher.
  Pusher(PushFormat format, std::string form, size_t limit, bool gaps, PushLog* log)
      : format_(format), form_(std::move(form)), limit_(limit), gaps_(gaps), log_(log) {}

  size_t together() const override { return limit_; }
  // CANCELLED: it was stopped, or the receiver wants no more events (410), which was recorded by
  // PushLog::Ended().
  absl::Status Consume(Formatter::Events events) override;

 protected:
  virtual HttpAnswer Post(const PushBody& body) = 0;
  // Appends the lines to the events that were set aside.
  virtual absl::Status Append(const std::string& lines) = 0;

 private:
  // Sends one request. OUT_OF_RANGE: there are too many events for it, or one of them is wrong.
  absl::Status Send(Formatter::Events events);
  absl::Status SetAside(Formatter::Events events, const std::string& reason);

  const PushFormat format_;
  const std::string form_;
  const size_t limit_;
  const bool gaps_;
  PushLog* const log_;
};

}  // namespace vmeventd::client
