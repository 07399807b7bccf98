#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "client/nats/connection.h"
#include "client/nats/message.h"
#include "nlohmann/json.hpp"
#include "tests/support/child_process.h"

namespace vmeventd::e2e {

// A real nats-server with JetStream, with its files in `directory`.
class NatsServer {
 public:
  // `configuration`: additional lines for its configuration.
  explicit NatsServer(std::string directory, std::string configuration = "");

  uint16_t port() const { return port_; }
  std::string url() const;
  pid_t pid() const { return process_->pid(); }
  std::string log() const;
  // Kills the process: data that it did not write is lost.
  void Kill() { process_.reset(); }
  // Starts it again on the same port, which nobody else gets in between, with the same files.
  void Start();

  // Returns the answer to a request. Fails the test if there is none.
  nlohmann::json Ask(const std::string& subject, const std::string& body = "") const;
  // Returns the last sequence of a stream; 0: there is no stream, or it never had a message.
  uint64_t last_sequence(const std::string& stream = "VMEVENTS") const;
  // Returns the last message of a subject in a stream; nullopt: there is none.
  std::optional<client::NatsMessage> Last(const std::string& stream,
                                          const std::string& subject) const;
  void DeleteStream(const std::string& stream);
  std::vector<client::NatsMessage> Messages() const;
  void CreateStream(const std::string& stream, const nlohmann::json& settings);
  // Creates one of the streams of `vmevents fleet create`, with the same settings.
  void CreateStream(const std::string& stream);
  // Creates the stream and the buckets of `vmevents fleet create`.
  void CreateFleet();
  void CreateBuckets();

 private:
  std::unique_ptr<client::NatsConnection> Connect() const;

  const std::string directory_;
  const std::string configuration_;
  uint16_t port_ = 0;
  const UniqueFd held_port_;
  std::unique_ptr<ChildProcess> process_;
};
}  // namespace vmeventd::e2e
