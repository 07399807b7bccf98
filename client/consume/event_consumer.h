#ifndef VMEVENTD_CLIENT_CONSUME_EVENT_CONSUMER_H_
#define VMEVENTD_CLIENT_CONSUME_EVENT_CONSUMER_H_

#include "absl/status/status.h"
#include "client/output/formatter.h"
#include "client/output/output.h"

namespace vmeventd::client {

// Handles the events of one or several nodes. One thread.
// CANCELLED: the watch ends quietly; another error ends it with the error's message.
class EventConsumer {
 public:
  virtual ~EventConsumer() = default;

  // Before the first event.
  virtual absl::Status Begin() = 0;
  virtual absl::Status ConsumeVms(const Formatter::Vms& vms, const Formatter::Nodes& nodes) = 0;
  // Returns when the events are done with, so that a cursor may pass them.
  virtual absl::Status Consume(const Formatter::Events& events, const Formatter::Nodes& nodes) = 0;
  // Whether each event is done with before the next one begins, so that a cursor may pass it alone.
  virtual bool one_by_one() const = 0;
};

// Prints them. Both pointers must outlive it.
class Printer : public EventConsumer {
 public:
  Printer(Formatter* formatter, Output* output) : formatter_(formatter), output_(output) {}

  absl::Status Begin() override { return output_->Write(formatter_->EventHeading()); }
  absl::Status ConsumeVms(const Formatter::Vms& vms, const Formatter::Nodes& nodes) override {
    return Print(formatter_->FormatVms(vms, nodes));
  }
  absl::Status Consume(const Formatter::Events& events, const Formatter::Nodes& nodes) override {
    return Print(formatter_->FormatEvents(events, nodes));
  }
  bool one_by_one() const override { return false; }

 private:
  absl::Status Print(const absl::StatusOr<std::string>& text) {
    return text.ok() ? output_->Write(*text) : text.status();
  }

  Formatter* const formatter_;
  Output* const output_;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONSUME_EVENT_CONSUMER_H_
