#include "tests/support/nats_server.h"

#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "client/fleet/create_fleet.h"
#include "client/fleet/fleet_buckets.h"
#include "client/fleet/fleet_subjects.h"
#include "client/nats/domain.h"
#include "client/nats/jetstream.h"
#include "tests/support/fail.h"
#include "tests/support/files.h"
#include "tests/support/loopback.h"
#include "tests/support/wait.h"

namespace vmeventd::e2e {

using client::ApiSubject;
using client::BucketStream;
using client::ConnectNats;
using client::kFleetStream;
using client::kNodesBucket;
using client::kVmsBucket;
using client::NatsConnection;
using client::NatsMessage;
using client::ReadLastMessage;
using client::ReadMessage;
using client::ReadStreamState;

NatsServer::NatsServer(std::string directory, std::string configuration)
    : directory_(std::move(directory)),
      configuration_(std::move(configuration)),
      held_port_(HoldOnLoopback(&port_)) {
  std::filesystem::create_directories(directory_);
  Start();
}

std::string NatsServer::url() const { return absl::StrCat("nats://127.0.0.1:", port_); }

std::string NatsServer::log() const { return ReadFile(directory_ + "/log"); }

void NatsServer::Start() {
  const std::string configuration = directory_ + "/nats.conf";
  std::ofstream(configuration) << "host: 127.0.0.1\n"
                               << "port: " << port_ << "\n"
                               << "authorization { timeout: 60 }\n"  // allows for a loaded machine
                               << "jetstream { store_dir: \"" << directory_ << "/js\" }\n"
                               << configuration_;
  process_ = std::make_unique<ChildProcess>(ChildOptions{
      .arguments = {"nats-server", "-c", configuration}, .error_file = directory_ + "/log"});
  WaitUntil("the NATS server listens", [&] { return ConnectToLoopback(port_).valid(); });
}

std::unique_ptr<NatsConnection> NatsServer::Connect() const {
  absl::StatusOr<std::unique_ptr<NatsConnection>> connection = absl::UnknownError("not tried");
  WaitUntil("the NATS server takes a connection in time", [&] {
    connection = ConnectNats({.servers = {url()}});
    return connection.ok();
  });
  return *std::move(connection);
}

nlohmann::json NatsServer::Ask(const std::string& subject, const std::string& body) const {
  const auto answer = Connect()->Request({.subject = subject, .data = body}, Patience());
  if (!answer.ok()) Fail(std::string(answer.status().message()));
  return nlohmann::json::parse(*answer);
}

uint64_t NatsServer::last_sequence(const std::string& stream) const {
  const auto state = ReadStreamState(Connect().get(), stream);
  return state.ok() ? state->last : 0;
}

std::vector<NatsMessage> NatsServer::Messages() const {
  std::vector<NatsMessage> messages;
  const std::unique_ptr<NatsConnection> connection = Connect();
  const uint64_t last = last_sequence();
  for (uint64_t sequence = 1; sequence <= last; ++sequence) {
    auto stored = ReadMessage(connection.get(), kFleetStream, sequence);
    if (!stored.ok()) Fail(std::string(stored.status().message()));
    messages.push_back(std::move(stored->message));
  }
  return messages;
}

std::optional<NatsMessage> NatsServer::Last(const std::string& stream,
                                            const std::string& subject) const {
  // nats-server 2.9.10 crashes if it is asked for a message of a stream that it is creating.
  if (last_sequence(stream) == 0) return std::nullopt;
  auto stored = ReadLastMessage(Connect().get(), stream, subject);
  return stored.ok() ? std::optional(std::move(stored->message)) : std::nullopt;
}

void NatsServer::DeleteStream(const std::string& stream) {
  const auto answer = Ask(ApiSubject("STREAM.DELETE", stream));
  if (answer.contains("error")) Fail("the stream cannot be deleted: " + answer.dump());
}

void NatsServer::CreateStream(const std::string& stream, const nlohmann::json& settings) {
  const auto answer = Ask(ApiSubject("STREAM.CREATE", stream), settings.dump());
  if (answer.contains("error")) Fail("the stream cannot be created: " + answer.dump());
}

void NatsServer::CreateStream(const std::string& stream) {
  CreateStream(stream, nlohmann::json::parse(client::CreateRequest(stream)));
}

void NatsServer::CreateFleet() {
  CreateStream(std::string(kFleetStream));
  CreateBuckets();
}

void NatsServer::CreateBuckets() {
  for (const absl::string_view bucket : {kVmsBucket, kNodesBucket}) {
    CreateStream(BucketStream(bucket));
  }
}
}  // namespace vmeventd::e2e
