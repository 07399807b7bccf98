#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/system.h"
#include "nlohmann/json.hpp"
#include "tests/support/child_process.h"
#include "tests/support/tcp_relay.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd::e2e {

// A client that asks one thing after another. Throws where the server does not answer.
class NatsClient {
 public:
  explicit NatsClient(uint16_t port);

  // The answer, as JSON. A null body is an empty one.
  nlohmann::json Request(const std::string& subject, const nlohmann::json& body);

 private:
  void ReadMore();
  std::string ReadLine();
  std::string ReadBytes(size_t count);
  void Write(absl::string_view text);

  UniqueFd fd_;
  std::string unread_;
  uint64_t requests_ = 0;
};

// A message of a stream.
struct StreamMessage {
  std::string subject;
  std::string headers;
  std::string data;
  uint64_t stream_sequence = 0;

  // "": there is no such header.
  std::string header(const std::string& name) const;
};

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

  // 0: there is no stream, or it has had no message.
  uint64_t last_sequence(const std::string& stream = "VMEVENTS");
  // The last message of a subject in a stream; nullopt: there is none.
  std::optional<StreamMessage> Last(const std::string& stream, const std::string& subject);
  void DeleteStream(const std::string& stream);
  std::vector<StreamMessage> Messages();
  void CreateStream(const std::string& stream, const nlohmann::json& settings);
  // Makes what `vmevents fleet create` makes.
  void CreateFleet();
  void CreateBuckets();

 private:
  const std::string directory_;
  const std::string configuration_;
  uint16_t port_ = 0;
  const UniqueFd held_port_;
  std::unique_ptr<ChildProcess> process_;
};

// A relay between a client and a server: can drop what the server answers.
class AnswerDropper : public TcpRelay {
 public:
  using TcpRelay::TcpRelay;
  // Drops the answers of this connection from the first message that is published on.
  void DropAfterPublish() { DropAnswersAfter("HPUB vmevents.v1."); }
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
