#include "tests/support/qmp_client.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "tests/support/fail.h"
#include "tests/support/unix_socket.h"
#include "tests/support/wait.h"

namespace vmeventd::e2e {

QmpClient::QmpClient(const std::string& path) : path_(path) {
  WaitUntil(path + " accepts a connection", [&] {
    socket_ = UniqueFd(ConnectUnix(path));
    return socket_.valid();
  });
  // A QEMU that starts may send an event before its greeting.
  while (true) {
    nlohmann::json message = ReadMessage();
    if (message.contains("QMP")) break;
    events_.push_back(std::move(message));
  }
  Execute("qmp_capabilities");
}

nlohmann::json QmpClient::Execute(const std::string& command, const nlohmann::json& arguments) {
  const std::string line =
      nlohmann::json{{"execute", command}, {"arguments", arguments}}.dump() + "\n";
  if (send(socket_.get(), line.data(), line.size(), MSG_NOSIGNAL) < 0) FailErrno(command);
  while (true) {
    const nlohmann::json message = ReadMessage();
    if (message.contains("return")) return message["return"];
    if (message.contains("error")) Fail(command + ": " + message.dump());
    if (message.contains("event")) events_.push_back(message);
  }
}

nlohmann::json QmpClient::WaitEvent(const std::string& name) {
  while (true) {
    const auto found = std::find_if(events_.begin(), events_.end(),
                                    [&](const auto& event) { return event["event"] == name; });
    if (found != events_.end()) {
      nlohmann::json event = *found;
      events_.erase(found);
      return event;
    }
    events_.push_back(ReadMessage());
  }
}

nlohmann::json QmpClient::ReadMessage() {
  constexpr int kNudgeMs = 1000;
  const absl::Time began = absl::Now();
  size_t end = 0;
  while ((end = unread_.find('\n')) == std::string::npos) {
    pollfd readable{socket_.get(), POLLIN, 0};
    if (poll(&readable, 1, kNudgeMs) == 0) {
      if (absl::Now() - began > Patience()) Fail("the control monitor is silent");
      // A QEMU that was connected to during its start may wait for another connection
      // (docs/internals/qemu.md).
      NudgeUnix(path_);
      continue;
    }
    std::array<char, 4096> buffer{};
    const ssize_t count = recv(socket_.get(), buffer.data(), buffer.size(), 0);
    if (count <= 0) Fail("the control monitor is gone");
    unread_.append(buffer.data(), static_cast<size_t>(count));
  }
  auto message = nlohmann::json::parse(unread_.substr(0, end));
  unread_.erase(0, end + 1);
  return message;
}

}  // namespace vmeventd::e2e
