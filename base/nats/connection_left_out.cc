// Replaces connection.cc in builds without NATS.

#include "base/nats/connection.h"

namespace vmeventd {

absl::Status LoadNatsLibrary() {
  return absl::FailedPreconditionError(
      "this program was built without NATS; build it with -DVMEVENTD_NATS=ON");
}

absl::StatusOr<std::unique_ptr<NatsConnection>> ConnectNats(const NatsOptions& /*options*/) {
  return LoadNatsLibrary();
}

}  // namespace vmeventd
