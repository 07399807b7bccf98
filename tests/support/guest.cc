#include "tests/support/guest.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <utility>

#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "base/random.h"
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
  const absl::Time deadline = absl::Now() + kPatience;
  size_t end = 0;
  while ((end = unread_.find('\n')) == std::string::npos) {
    pollfd readable{socket_.get(), POLLIN, 0};
    if (poll(&readable, 1, kNudgeMs) == 0) {
      if (absl::Now() > deadline) Fail("the control monitor is silent");
      // A QEMU that was connected to during its start may wait for another connection
      // (docs/qemu.md).
      UniqueFd(ConnectUnix(path_)).Reset();
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

std::vector<std::string> QemuCommand(Boot boot, const std::string& kernel_arguments) {
  std::vector<std::string> command = {"qemu-system-x86_64", "-accel",   "tcg", "-nodefaults",
                                      "-no-user-config",    "-display", "none"};
  if (boot == Boot::kNothing) {
    command.insert(command.end(), {"-machine", "none"});
    return command;
  }
  const std::string guest_dir = VMEVENTD_GUEST_DIR;
  const std::string kernel = boot == Boot::kLinux ? "/vmlinux" : "/vmlinuz";
  command.insert(command.end(), {"-machine", "pc", "-m", "192", "-kernel", guest_dir + kernel,
                                 "-initrd", guest_dir + "/initrd", "-append",
                                 std::string(kGuestKernelArguments) + " " + kernel_arguments});
  return command;
}

std::string BootSector(const std::vector<unsigned char>& program) {
  std::string sector(program.begin(), program.end());
  sector.resize(510);
  return sector + "\x55\xaa";
}

Guest::Guest(GuestOptions options) : options_(std::move(options)), uuid_(RandomUuid().value()) {
  const std::string control_path = options_.directory + "/" + name() + ".control";
  // A QEMU that ran under this name may have left its socket behind.
  std::filesystem::remove(control_path);
  ChildOptions child;
  child.arguments = QemuCommand(options_.boot, options_.kernel_arguments);
  child.arguments.front() = options_.program;
  child.arguments.insert(child.arguments.end(),
                         {"-name", name(), "-uuid", uuid_, "-serial", "stdio", "-qmp",
                          "unix:" + control_path + ",server=on,wait=off"});
  for (const std::string& argument : options_.monitor) {
    child.arguments.push_back(absl::StrReplaceAll(argument, {{"PATH", socket_path()}}));
  }
  child.arguments.insert(child.arguments.end(), options_.arguments.begin(),
                         options_.arguments.end());
  process_ = std::make_unique<ChildProcess>(child);
  manager_ = std::make_unique<QmpClient>(control_path);
  if (options_.boot != Boot::kNothing && options_.wait_until_ready) WaitReady();
}

}  // namespace vmeventd::e2e
