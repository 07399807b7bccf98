#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/sources/list_source.h"
#include "client/sources/stats_command.h"

// `stats`: counts events.

namespace vmeventd::client {

// Prints the answer. Returns the failure, if there is one; an output whose reader has gone is no
// failure. Prints nothing for an empty list, and sets `*empty` to what that means.
std::optional<Failure> RunList(const StatsCommand& command, ListSource* source, absl::TimeZone zone,
                               Formatter* formatter, Output* output, std::string* empty);

}  // namespace vmeventd::client
