#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/nats/connection.h"

namespace vmeventd {

// Sends a request to JetStream's API, and returns the answer (jetstream_api.h has the texts).
// UNAVAILABLE: the server has no JetStream, or as NatsConnection::Request.
absl::StatusOr<std::string> AskJetStream(NatsConnection* connection, const std::string& subject,
                                         absl::string_view text,
                                         absl::Duration timeout = NatsConnection::kRequestTimeout);

// The error where nobody answers a request of JetStream's API.
absl::Status NoJetStream();

}  // namespace vmeventd
