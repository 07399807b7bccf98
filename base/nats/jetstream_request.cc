#include "base/nats/jetstream_request.h"

namespace vmeventd {

absl::Status NoJetStream() {
  return absl::UnavailableError(
      "the server has no JetStream, or not for this account: enable it in the server's "
      "configuration (jetstream {})");
}

absl::StatusOr<std::string> AskJetStream(NatsConnection* connection, const std::string& subject,
                                         absl::string_view text, absl::Duration timeout) {
  const absl::StatusOr<NatsMessagePtr> answer = connection->Request(subject, text, timeout);
  if (absl::IsNotFound(answer.status())) return NoJetStream();
  if (!answer.ok()) return answer.status();
  return std::string((*answer)->data());
}

}  // namespace vmeventd
