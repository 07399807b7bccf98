#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/nats/options.h"
#include "client/output/invocation.h"

// A fleet on NATS servers: its stream of events, and the buckets with the last states.

namespace vmeventd::client {

// The servers of a fleet in the form that users write, safe for a terminal.
std::string ToText(const NatsOptions& fleet);

// Explains a failed request to the fleet. `servers`: result of ToText(). Pure.
Failure ExplainFleetFailure(const std::string& servers, const Invocation& invocation,
                            const absl::Status& status);

// Longest time by which an event may be stored before its own time, because the clocks of node and
// server differ.
inline constexpr absl::Duration kMaxSkew = absl::Minutes(5);

}  // namespace vmeventd::client
