// What stands for jetstream_sink.cc where the build leaves NATS out.

#include "server/fleet/jetstream_sink.h"

namespace vmeventd {

absl::StatusOr<std::unique_ptr<FleetSink>> MakeJetStreamSink(JetStreamOptions /*options*/) {
  return absl::FailedPreconditionError(
      "--publish: this vmeventd was built without NATS; build it with -DVMEVENTD_NATS=ON");
}

}  // namespace vmeventd
