#include "client/commands/status.h"

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/commands/print.h"
#include "client/output/node_report.h"
#include "client/output/trouble.h"

namespace vmeventd::client {

std::optional<Failure> RunList(const StatusCommand& /*command*/, ListSource* source,
                               Formatter* formatter, Output* output) {
  const absl::Time now = absl::Now();
  NodeReports reports;
  auto failure = source->ReadReports({.since = now - kTroubleAfterEnd, .health = true}, &reports);
  const auto printed = PrintText(formatter->FormatNodes(reports, now), output);
  return printed ? printed : failure;
}

}  // namespace vmeventd::client
