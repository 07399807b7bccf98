// The daemon as a service manager sees it.

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/e2e/child_process.h"
#include "tests/e2e/e2e_test.h"
#include "tests/e2e/wait.h"
#include "watcher/io/unique_fd.h"

namespace vmeventd::e2e {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

// The service manager's side of sd_notify(3).
class NotifySocket {
 public:
  explicit NotifySocket(const std::string& path)
      : fd_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un name{};
    name.sun_family = AF_UNIX;
    std::strncpy(name.sun_path, path.c_str(), sizeof(name.sun_path) - 1);
    if (bind(fd_.get(), reinterpret_cast<sockaddr*>(&name), sizeof(name)) != 0) FailErrno("bind");
    const timeval patience{absl::ToInt64Seconds(kPatience), 0};
    setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  }

  std::string Receive() const {
    char text[4096];
    const ssize_t size = recv(fd_.get(), text, sizeof(text), 0);
    if (size < 0) FailErrno("no notification came");
    return {text, static_cast<size_t>(size)};
  }
  std::string ReceiveUntil(const std::string& begin) const {
    for (;;) {
      std::string text = Receive();
      if (absl::StartsWith(text, begin)) return text;
    }
  }

 private:
  const UniqueFd fd_;
};

class ServiceTest : public E2eTest {
 protected:
  std::unique_ptr<ChildProcess> Start() {
    ChildOptions options = DaemonCommand(Options());
    options.environment = {absl::StrCat("NOTIFY_SOCKET=", dir() / "notify"),
                           "WATCHDOG_USEC=3000000"};
    return std::make_unique<ChildProcess>(options);
  }

  const NotifySocket manager_{dir() / "notify"};
};

TEST_F(ServiceTest, TellsWhenItIsReadyReloadsAndStops) {
  const auto process = Start();
  EXPECT_THAT(manager_.Receive(), StartsWith("READY=1\nSTATUS=following 0 VMs"));
  process->Signal(SIGHUP);
  EXPECT_THAT(manager_.ReceiveUntil("RELOADING=1"), HasSubstr("MONOTONIC_USEC="));
  manager_.ReceiveUntil("READY=1");
  process->Signal(SIGTERM);
  manager_.ReceiveUntil("STOPPING=1");
  EXPECT_EQ(process->Wait(), 0);
}

TEST_F(ServiceTest, SaysThatItIsAliveAsLongAsItIs) {
  const auto process = Start();
  manager_.ReceiveUntil("WATCHDOG=1");
  manager_.ReceiveUntil("WATCHDOG=1");
  process->Signal(SIGTERM);
  EXPECT_EQ(process->Wait(), 0);
}

TEST_F(ServiceTest, KeepsNoCapabilityThatItDoesNotNeed) {
  StartDaemon();
  const std::string status = ReadFile(absl::StrCat("/proc/", daemon().pid(), "/status"));
  // CHOWN 0, DAC_OVERRIDE 1, NET_BIND_SERVICE 10, NET_ADMIN 12, SYS_PTRACE 19
  constexpr uint64_t kKept = 0x81403;
  for (const char* set : {"CapEff:", "CapPrm:"}) {
    const uint64_t held = std::stoull(status.substr(status.find(set) + 8), nullptr, 16);
    EXPECT_EQ(held & ~kKept, 0) << set;
  }
  EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1"));
}

}  // namespace
}  // namespace vmeventd::e2e
