#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/nats/connection.h"
#include "client/nats/message.h"

namespace vmeventd::client {

// A connection whose server gives each request the same answer.
class AnsweringNats : public NatsConnection {
 public:
  explicit AnsweringNats(absl::StatusOr<std::string> answer) : answer_(std::move(answer)) {}

  absl::StatusOr<std::string> Request(const NatsMessage& /*message*/,
                                      absl::Duration /*timeout*/) override {
    return answer_;
  }
  absl::Status Publish(const NatsMessage& /*message*/) override { return absl::OkStatus(); }
  absl::StatusOr<std::unique_ptr<NatsSubscription>> Subscribe(
      const std::string& /*subject*/) override {
    return absl::UnimplementedError("it only answers");
  }
  std::string NewInbox() override { return "_INBOX.1"; }
  bool closed() const override { return false; }
  std::string complaint() const override { return ""; }

 private:
  const absl::StatusOr<std::string> answer_;
};

}  // namespace vmeventd::client
