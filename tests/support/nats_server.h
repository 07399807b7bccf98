#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/unique_fd.h"
#include "nlohmann/json.hpp"
#include "tests/support/child_process.h"

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
  void Write(const std::string& text);

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
  // Makes a stream whose window, in which it recognises repeated messages, is over at once.
  void CreateStreamWithoutWindow();

 private:
  const std::string directory_;
  const std::string configuration_;
  uint16_t port_ = 0;
  const UniqueFd held_port_;
  std::unique_ptr<ChildProcess> process_;
};

// The answer of a server's monitoring on this port of loopback to "/varz" and so on; an empty
// object: none.
nlohmann::json AskMonitoring(uint16_t port, const std::string& path);

// A relay between a client and a server on loopback: can drop what the server answers.
class AnswerDropper {
 public:
  explicit AnswerDropper(uint16_t server_port);
  ~AnswerDropper();

  uint16_t port() const { return port_; }
  // Drops the answers of this connection from the first message that is published on.
  void DropAfterPublish() { drop_ = true; }
  uint64_t dropped() const { return dropped_; }

 private:
  void Run();
  void Relay(int client);

  const uint16_t server_port_;
  uint16_t port_ = 0;
  UniqueFd listener_;
  UniqueFd stop_;
  std::atomic<bool> drop_ = false;
  std::atomic<uint64_t> dropped_ = 0;  // bytes
  std::thread thread_;
};

}  // namespace vmeventd::e2e
