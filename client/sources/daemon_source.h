#pragma once

#include <functional>
#include <memory>

#include "absl/time/time.h"
#include "base/clock.h"
#include "client/connect/server_address.h"
#include "client/sources/reconnecting_source.h"
#include "client/sources/source.h"
#include "client/sources/watch_command.h"
#include "grpcpp/support/status.h"

namespace vmeventd::client {

// Interval of Progress that a stream is asked for.
inline constexpr absl::Duration kProgressInterval = absl::Seconds(10);

// A stream from which nothing arrives for this long, while it is read, is closed.
struct Silence {
  absl::Duration limit = 3 * kProgressInterval;
  std::function<absl::Time()> clock = SteadyNow;  // measures the silence
};

// The statuses after which a stream is not tried again: those that the contract's rule "retry"
// names.
inline constexpr grpc::StatusCode kFinalStatuses[] = {
    grpc::StatusCode::INVALID_ARGUMENT, grpc::StatusCode::PERMISSION_DENIED,
    grpc::StatusCode::UNAUTHENTICATED, grpc::StatusCode::UNIMPLEMENTED};

// Makes the source of one daemon's events. It resumes over any number of streams without losing or
// repeating events: see WatchCursor. The VMs of an incomplete snapshot are dropped.
std::unique_ptr<Source> WatchDaemon(WatchCommand command, ServerAddress address,
                                    ReconnectingSource::Environment environment,
                                    Silence silence = {});

}  // namespace vmeventd::client
