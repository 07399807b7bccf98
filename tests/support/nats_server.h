#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/system.h"
#include "client/nats/connection.h"
#include "nlohmann/json.hpp"
#include "tests/support/child_process.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd::e2e {

// A real nats-server with JetStream, whose files are in `directory`.
class NatsServer {
 public:
  // `configuration`: more lines of its configuration.
  explicit NatsServer(std::string directory, std::string configuration = "");

  uint16_t port() const { return port_; }
  std::string url() const;
  pid_t pid() const { return process_->pid(); }
  std::string log() const;
  // Kills the process: what it did not write is gone.
  void Kill() { process_.reset(); }
  // Starts it on the same port, which nobody else gets meanwhile, with the same files.
  void Start();

  // The answer to a request. Fails the test where there is none.
  nlohmann::json Ask(const std::string& subject, const std::string& body = "") const;
  // 0: there is no stream, or it has had no message.
  uint64_t last_sequence(const std::string& stream = "VMEVENTS") const;
  // The last message of a subject in a stream; nullopt: there is none.
  std::optional<client::NatsMessage> Last(const std::string& stream,
                                          const std::string& subject) const;
  void DeleteStream(const std::string& stream);
  std::vector<client::NatsMessage> Messages() const;
  void CreateStream(const std::string& stream, const nlohmann::json& settings);
  // As `vmevents fleet create` does, of one of its streams.
  void CreateStream(const std::string& stream);
  // Makes what `vmevents fleet create` makes.
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

// Permissions of a user. Empty lists: everything.
struct NatsPermissions {
  std::vector<std::string> publish;
  std::vector<std::string> subscribe;
};

// An operator of NATS servers and an account with users, which examples/fleet/nats_creds.py makes.
class NatsOperator {
 public:
  // The operator and its account, which has JetStream, for the server's configuration. Makes the
  // keys, which MakeCredentials needs.
  std::string Configuration() const;
  // The contents of a credentials file of a new user.
  std::string MakeCredentials(const std::string& name, const NatsPermissions& permissions) const;

 private:
  // What the script prints for these arguments.
  std::string Print(const std::vector<std::string>& arguments) const;

  const TemporaryDirectory keys_;
};

}  // namespace vmeventd::e2e
