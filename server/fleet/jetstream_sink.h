#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/nats/connection.h"
#include "server/fleet/fleet_sink.h"

namespace vmeventd {

struct JetStreamOptions {
  NatsOptions nats;
  std::string cluster;  // the fleet's, as in the subjects
  std::string node;
};

// The fleet's stream in NATS JetStream. Loads NATS's client library, once in a process.
// FAILED_PRECONDITION: it is missing, or was left out of this build; names what to install.
absl::StatusOr<std::unique_ptr<FleetSink>> MakeJetStreamSink(JetStreamOptions options);

}  // namespace vmeventd
