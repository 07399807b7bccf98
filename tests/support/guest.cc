#include "tests/support/guest.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "base/uuid.h"
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

std::vector<std::string> QemuCommand(Boot boot, const std::string& kernel_arguments) {
  std::vector<std::string> command = {"qemu-system-x86_64", "-accel",   "tcg", "-nodefaults",
                                      "-no-user-config",    "-display", "none"};
  if (boot == Boot::kNothing) {
    command.insert(command.end(), {"-machine", "none"});
    return command;
  }
  if (boot == Boot::kSector) {
    command.insert(command.end(), {"-machine", "pc", "-m", "16"});
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

std::string GuestSector(bool obeys_power_button, bool reboots_after_panic) {
  const unsigned char press = obeys_power_button ? 0x38 : 0xE6;   // off, wait
  const unsigned char panic = reboots_after_panic ? 0x08 : 0x1A;  // reset, hang
  // An 8086's program at 0x7C00. PM1a's registers are at 0x600 with QEMU's firmware.
  std::vector<unsigned char> code = {
      0xFA, 0x31,  0xC0, 0x8E, 0xD8,              //           cli; ds = 0
      0xBA, 0x02,  0x06, 0xB8, 0x00, 0x01, 0xEF,  //           outw 0x602, 0x100: enable the button
      0xBE, 0x80,  0x7C, 0xBA, 0xF8, 0x03,        //           si = text; dx = the serial line
      0xAC, 0x84,  0xC0, 0x74, 0x03,              // print:    al = *si++; if 0, wait
      0xEE, 0xEB,  0xF8,                          //           outb; print
      0xFB, 0xF4,  0xFA,                          // wait:     until the timer ticks
      0xBA, 0xFD,  0x03, 0xEC, 0xA8, 0x01,        //           inb 0x3FD: a byte on the line?
      0x75, 0x0F,                                 //           read
      0xBA, 0x00,  0x06, 0xED, 0xF6, 0xC4, 0x01,  //           inw 0x600: the power button?
      0x74, 0xEC,                                 //           else wait
      0xB8, 0x00,  0x01, 0xEF,                    //           outw 0x600, 0x100: it was seen
      0xEB, press,                                //
      0xBA, 0xF8,  0x03, 0xEC,                    // read:     inb 0x3F8
      0x3C, 'o',   0x74, 0x30,                    //           off
      0xB4, 0x28,  0x3C, 'h',  0x74, 0x2C,        //           ah = S4; sleep
      0xB4, 0x24,  0x3C, 's',  0x74, 0x26,        //           ah = S3; sleep
      0x3C, 'w',   0x74, 0x10,                    //           watchdog
      0x3C, 'r',   0x74, 0x14,                    //           reset
      0x3C, 'p',   0x75, 0xC6,                    //           else wait
      0xBA, 0x05,  0x05, 0xB0, 0x01, 0xEE,        //           outb 0x505, 1: pvpanic
      0xEB, panic,                                //
      0xBA, 0x43,  0x04, 0xB0, 0x0F, 0xEE,        // watchdog: outb 0x443, 15: expires at once
      0xEB, 0xB6,                                 //           wait
      0xBA, 0xF9,  0x0C, 0xB0, 0x06, 0xEE,        // reset:    outb 0xCF9, 6
      0xEB, 0x0A,                                 //           hang
      0xB4, 0x20,                                 // off:      ah = S5
      0x30, 0xC0,  0xBA, 0x04, 0x06, 0xEF,        // sleep:    outw 0x604, ax
      0xEB, 0xA4,                                 //           wait
      0xF4, 0xEB,  0xFD,                          // hang:     hlt; hang
  };
  constexpr size_t kText = 0x80;
  code.resize(kText);
  for (const char c : std::string("GUEST-READY\r\n")) {
    code.push_back(static_cast<unsigned char>(c));
  }
  return BootSector(code);
}

Guest::Guest(GuestOptions options)
    : options_(std::move(options)), uuid_(options_.uuid.empty() ? RandomUuid() : options_.uuid) {
  const std::string control_path = options_.directory + "/" + name() + ".control";
  // A QEMU that ran under this name may have left its socket behind.
  std::filesystem::remove(control_path);
  ChildOptions child;
  child.arguments = QemuCommand(options_.boot,
                                absl::StrCat(options_.obeys_power_button ? "" : "ignore_powerdown ",
                                             options_.reboots_after_panic ? "panic=-1" : ""));
  child.arguments.front() = options_.program;
  child.arguments.insert(child.arguments.end(),
                         {"-name", name(), "-uuid", uuid_, "-serial", "stdio", "-qmp",
                          "unix:" + control_path + ",server=on,wait=off"});
  for (const std::string& argument : options_.monitor) {
    child.arguments.push_back(absl::StrReplaceAll(argument, {{"PATH", socket_path()}}));
  }
  child.arguments.insert(child.arguments.end(), options_.arguments.begin(),
                         options_.arguments.end());
  if (options_.boot == Boot::kSector) {
    const std::string disk = options_.directory + "/" + name() + ".disk";
    std::ofstream(disk, std::ios::binary)
        << GuestSector(options_.obeys_power_button, options_.reboots_after_panic);
    child.arguments.insert(child.arguments.end(),
                           {"-drive", "format=raw,snapshot=on,file=" + disk});
  }
  process_ = std::make_unique<ChildProcess>(child);
  manager_ = std::make_unique<QmpClient>(control_path);
  if (options_.boot != Boot::kNothing && options_.wait_until_ready) WaitReady();
}

}  // namespace vmeventd::e2e
