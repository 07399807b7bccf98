#pragma once

#include <string>

#include "tests/support/fake_qemu.h"
#include "tests/support/programs.h"
#include "tests/support/wait.h"

namespace vmeventd::e2e {

// A fake QEMU that sends as many events as a test wants, all of a type without a rate limit.
class ChattyVm {
 public:
  ChattyVm(const std::string& directory, const std::string& name)
      : qemu_(TestProgramPath("fake_qemu")),
        monitor_(qemu_.AddMonitor(directory + "/" + name + ".kvmd")) {}

  // Waits for the daemon's connection, and sends `count` POWERDOWN events.
  void Send(int count) {
    constexpr size_t kHandshake = 4;
    WaitUntil("the daemon is attached",
              [&] { return qemu_.CommandsOfClient(monitor_).size() >= kHandshake; });
    const std::string event =
        "{\"event\": \"POWERDOWN\", \"timestamp\": {\"seconds\": 1, \"microseconds\": 2}}\r\n";
    std::string burst;
    for (int i = 0; i < count; ++i) burst += event;
    qemu_.Send(monitor_, burst);
  }

 private:
  FakeQemu qemu_;
  const int monitor_;
};

}  // namespace vmeventd::e2e
