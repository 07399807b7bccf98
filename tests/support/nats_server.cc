#include "tests/support/nats_server.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "client/nats/jetstream.h"
#include "client/nats/subject.h"
#include "tests/support/files.h"
#include "tests/support/loopback.h"
#include "tests/support/wait.h"

namespace vmeventd::e2e {
namespace {

std::string Decode(const nlohmann::json& message, const char* member) {
  std::string out;
  if (message.contains(member)) absl::Base64Unescape(message[member].get<std::string>(), &out);
  return out;
}

}  // namespace

NatsClient::NatsClient(uint16_t port) : fd_(ConnectToLoopback(port)) {
  if (!fd_.valid()) Fail("nobody listens on the port of the NATS server");
  ReadLine();  // INFO
  Write(
      "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true}\r\nSUB answers.* 1\r\n");
}

nlohmann::json NatsClient::Request(const std::string& subject, const nlohmann::json& body) {
  const std::string text = body.is_null() ? "" : body.dump();
  const std::string inbox = absl::StrCat("answers.", ++requests_);
  Write(absl::StrCat("PUB ", subject, " ", inbox, " ", text.size(), "\r\n", text, "\r\n"));
  while (true) {
    const std::string line = ReadLine();
    if (line == "PING") Write("PONG\r\n");
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (words[0] == "-ERR" || words[0] == "HMSG") Fail("the NATS server answers " + line);
    if (words[0] != "MSG") continue;
    size_t size = 0;
    if (!absl::SimpleAtoi(words.back(), &size)) Fail("the NATS server answers " + line);
    const std::string data = ReadBytes(size + 2).substr(0, size);
    if (words[1] == inbox) return nlohmann::json::parse(data);
  }
}

void NatsClient::Write(absl::string_view text) {
  while (!text.empty()) {
    const ssize_t size = send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (size <= 0) FailErrno("cannot write to the NATS server");
    text.remove_prefix(static_cast<size_t>(size));
  }
}

void NatsClient::ReadMore() {
  pollfd input{fd_.get(), POLLIN, 0};
  std::array<char, 65536> buffer{};
  if (poll(&input, 1, static_cast<int>(absl::ToInt64Milliseconds(kPatience))) <= 0) {
    Fail("the NATS server does not answer");
  }
  const ssize_t size = read(fd_.get(), buffer.data(), buffer.size());
  if (size <= 0) Fail("the NATS server closed the connection");
  unread_.append(buffer.data(), static_cast<size_t>(size));
}

std::string NatsClient::ReadBytes(size_t count) {
  while (unread_.size() < count) ReadMore();
  std::string bytes = unread_.substr(0, count);
  unread_.erase(0, count);
  return bytes;
}

std::string NatsClient::ReadLine() {
  size_t end = 0;
  while ((end = unread_.find("\r\n")) == std::string::npos) ReadMore();
  std::string line = unread_.substr(0, end);
  unread_.erase(0, end + 2);
  return line;
}

std::string StreamMessage::header(const std::string& name) const {
  for (absl::string_view line : absl::StrSplit(headers, "\r\n")) {
    if (absl::ConsumePrefix(&line, absl::StrCat(name, ": "))) return std::string(line);
  }
  return "";
}

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

uint64_t NatsServer::last_sequence(const std::string& stream) {
  const auto info = NatsClient(port_).Request("$JS.API.STREAM.INFO." + stream, nlohmann::json());
  return info.contains("state") ? info["state"]["last_seq"].get<uint64_t>() : 0;
}

std::vector<StreamMessage> NatsServer::Messages() {
  std::vector<StreamMessage> messages;
  const uint64_t last = last_sequence();
  NatsClient client(port_);
  for (uint64_t sequence = 1; sequence <= last; ++sequence) {
    const auto answer = client.Request("$JS.API.STREAM.MSG.GET.VMEVENTS", {{"seq", sequence}});
    if (!answer.contains("message")) Fail("no message: " + answer.dump());
    const auto& message = answer["message"];
    messages.push_back(
        {message["subject"], Decode(message, "hdrs"), Decode(message, "data"), message["seq"]});
  }
  return messages;
}

std::optional<StreamMessage> NatsServer::Last(const std::string& stream,
                                              const std::string& subject) {
  // nats-server 2.9.10 crashes if it is asked for a message of a stream that it is creating.
  if (last_sequence(stream) == 0) return std::nullopt;
  const auto answer =
      NatsClient(port_).Request("$JS.API.STREAM.MSG.GET." + stream, {{"last_by_subj", subject}});
  if (!answer.contains("message")) return std::nullopt;
  const auto& message = answer["message"];
  return StreamMessage{message["subject"], Decode(message, "hdrs"), Decode(message, "data"),
                       message["seq"]};
}

void NatsServer::DeleteStream(const std::string& stream) {
  const auto answer =
      NatsClient(port_).Request("$JS.API.STREAM.DELETE." + stream, nlohmann::json());
  if (answer.contains("error")) Fail("the stream cannot be deleted: " + answer.dump());
}

void NatsServer::CreateStream(const std::string& stream, const nlohmann::json& settings) {
  const auto answer = NatsClient(port_).Request(ApiSubject("STREAM.CREATE", stream), settings);
  if (answer.contains("error")) Fail("the stream cannot be created: " + answer.dump());
}

void NatsServer::CreateFleet() {
  const std::string stream(kFleetStream);
  CreateStream(stream, nlohmann::json::parse(CreateStreamRequest(stream, 1)));
  CreateBuckets();
}

void NatsServer::CreateBuckets() {
  for (const absl::string_view bucket : {kVmsBucket, kNodesBucket}) {
    CreateStream(BucketStream(bucket), nlohmann::json::parse(CreateBucketRequest(bucket, 1)));
  }
}

std::string NatsOperator::Print(const std::vector<std::string>& arguments) const {
  ChildOptions script;
  script.arguments = {VMEVENTD_NATS_CREDS, "--keys", keys_.path()};
  script.arguments.insert(script.arguments.end(), arguments.begin(), arguments.end());
  const CommandResult result = RunCommand(script);
  if (result.exit_code != 0) Fail("nats_creds.py: " + result.error);
  return result.output;
}

std::string NatsOperator::Configuration() const { return Print({"server"}); }

std::string NatsOperator::MakeCredentials(const std::string& name,
                                          const NatsPermissions& permissions) const {
  std::vector<std::string> arguments = {"user", name};
  for (const auto& [option, subjects] : {std::pair("--publish", permissions.publish),
                                         std::pair("--subscribe", permissions.subscribe)}) {
    if (subjects.empty()) continue;
    arguments.emplace_back(option);
    arguments.insert(arguments.end(), subjects.begin(), subjects.end());
  }
  return Print(arguments);
}

}  // namespace vmeventd::e2e
