#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/sinks/sink.h"

namespace vmeventd::client {

// Prints events and VMs. The formatter and the output must outlive it.
class Printer : public EventSink {
 public:
  Printer(Formatter* formatter, Output* output) : formatter_(formatter), output_(output) {}

  absl::Status Begin() override { return Print(formatter_->FormatEvents({})); }
  absl::Status ConsumeVms(const NodeVms& vms) override { return Print(formatter_->FormatVms(vms)); }
  absl::Status Consume(Formatter::Events events) override {
    return Print(formatter_->FormatEvents(events));
  }

 private:
  absl::Status Print(const absl::StatusOr<std::string>& text) {
    return text.ok() ? output_->Write(*text) : text.status();
  }

  Formatter* const formatter_;
  Output* const output_;
};

}  // namespace vmeventd::client
