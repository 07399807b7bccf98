#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/sources/list_source.h"

// `stats`: counts events.

namespace vmeventd::client {

// Prints the answer and returns nothing, or the failure. An output whose reader has gone is no
// failure. Of an empty list it prints nothing: what that means becomes `empty`.
std::optional<Failure> RunList(const StatsCommand& command, ListSource* source, absl::TimeZone zone,
                               Formatter* formatter, Output* output, std::string* empty);

}  // namespace vmeventd::client
