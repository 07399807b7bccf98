#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/nats/connection.h"

namespace vmeventd {

// A message for a stream.
struct StreamMessage {
  std::string subject;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string data;
};

// Publishes into streams of JetStream over a connection, which must outlive it, and waits for what
// they acknowledge. One thread.
class StreamWriter {
 public:
  // A stop ends what is under way.
  static absl::StatusOr<std::unique_ptr<StreamWriter>> Open(NatsConnection* connection,
                                                            std::stop_token stop);

  // Sends the messages in their order, and returns once each has an answer, or none came for
  // `timeout`. OK: all are stored but those of `unfit`, by index, which the stream never takes.
  // Otherwise any of them may be stored. CANCELLED: a stop.
  absl::Status Write(absl::string_view stream, const std::vector<StreamMessage>& messages,
                     absl::Duration timeout, std::vector<size_t>* unfit);

 private:
  StreamWriter(NatsConnection* connection, std::stop_token stop)
      : connection_(connection), stop_(std::move(stop)) {}

  // Waits for the answers of these messages.
  absl::Status Collect(absl::string_view stream, const std::vector<StreamMessage>& messages,
                       absl::Duration timeout, std::vector<size_t>* unfit);

  NatsConnection* const connection_;
  const std::stop_token stop_;
  std::string inbox_;     // answers come to INBOX.BATCH.INDEX
  uint64_t batches_ = 0;  // of the inbox
  std::unique_ptr<NatsSubscription> answers_;
};

}  // namespace vmeventd
