// The daemon under a service manager.

#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <list>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "gmock/gmock.h"
#include "tests/support/child_process.h"
#include "tests/support/fail.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/fake_service_manager.h"
#include "tests/support/machine_probe.h"
#include "tests/support/programs.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"
#include "tests/system/vmevents_command.h"

namespace vmeventd::e2e {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

class ServiceTest : public E2eTest {
 protected:
  std::unique_ptr<ChildProcess> Start(const std::vector<std::string>& environment = {}) {
    ChildOptions options = DaemonCommand(Options());
    options.environment = {absl::StrCat("NOTIFY_SOCKET=", dir() / "notify"),
                           "WATCHDOG_USEC=3000000"};
    options.environment.insert(options.environment.end(), environment.begin(), environment.end());
    return std::make_unique<ChildProcess>(options);
  }
  // A daemon whose disk hangs while hang() exists.
  std::unique_ptr<ChildProcess> StartOnHungDisk() {
    return Start(
        {absl::StrCat("LD_PRELOAD=", VMEVENTD_HUNG_DISK),
         // The preloaded library comes before AddressSanitizer's, and is independent of it.
         "ASAN_OPTIONS=verify_asan_link_order=0", absl::StrCat("HUNG_DISK_WHILE=", hang())});
  }
  // Starts a daemon that waits for a hanging disk, and stops it.
  std::unique_ptr<ChildProcess> StopOnHungDisk() {
    auto process = StartOnHungDisk();
    manager_.Next("READY=1");
    std::ofstream(hang()).close();
    qemu_.AddMonitor(watch_dir() + "/vm1.kvmd");
    WaitUntilItWaits();
    process->Signal(SIGTERM);
    return process;
  }
  std::string hang() const { return dir() / "hang"; }
  void WaitUntilItWaits() const {
    WaitUntil("the daemon waits for its disk",
              [this] { return access((hang() + ".waits").c_str(), F_OK) == 0; });
  }
  std::string Log() const { return ReadFile(Options().log_file); }
  void WaitWatchdog(int before, const std::string& begin = "WATCHDOG=1") const {
    WaitUntil("the watchdog is notified again", [&] { return manager_.Count(begin) > before; });
  }

  FakeServiceManager manager_{dir() / "notify"};
  FakeQemu qemu_{TestProgramPath("fake_qemu")};
};

TEST_F(ServiceTest, NotifiesReadyAndStopping) {
  const auto process = Start();
  EXPECT_THAT(manager_.Next("READY=1"), StartsWith("READY=1\nSTATUS=following 0 VMs"));
  process->Signal(SIGTERM);
  manager_.Next("STOPPING=1");
  EXPECT_EQ(process->Wait(), 0);
}

TEST_F(ServiceTest, AStopBlockedByADiskFailsAndNamesTheDisk) {
  const auto process = StopOnHungDisk();
  const int status = process->Wait();
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 1);
  EXPECT_THAT(Log(), HasSubstr("the disk of the state directory does not respond"));
  EXPECT_THAT(Log(), Not(HasSubstr("a client")));
}

TEST_F(ServiceTest, AStartOnAHungDiskContinuesWhenTheDiskAnswers) {
  std::ofstream(hang()).close();
  const auto process = StartOnHungDisk();
  EXPECT_THAT(manager_.Next("READY=1"),
              StartsWith("READY=1\nWATCHDOG=1\nSTATUS=the start waits for the disk of " +
                         Options().state_dir));
  WaitWatchdog(manager_.Count("READY=1\nWATCHDOG=1"), "READY=1\nWATCHDOG=1");
  EXPECT_THAT(Log(), HasSubstr("which has not answered for 2s; no VM is followed until then"));
  std::filesystem::remove(hang());
  manager_.Next("READY=1\nSTATUS=following");
  process->Signal(SIGTERM);
  EXPECT_EQ(process->Wait(), 0);
}

TEST_F(ServiceTest, AStartOnAHungDiskReportsWhatItWaitsFor) {
  std::ofstream(hang()).close();
  const auto process = StartOnHungDisk();
  const auto run = [this](const std::string& command) {
    return RunCommand({.arguments = VmeventsCommand("unix:" + Options().socket, {command})});
  };
  const std::string what = "the disk of " + Options().state_dir;
  WaitUntil("info names the directory",
            [&] { return absl::StrContains(run("info").output, "waits for " + what); });
  EXPECT_EQ(run("health").exit_code, 1);
  EXPECT_THAT(run("vms").error, HasSubstr("vmeventd starts and waits for " + what));
  EXPECT_THAT(run("doctor").output, HasSubstr("vmeventd starts and waits for"));
  std::filesystem::remove(hang());
  manager_.Next("READY=1\nSTATUS=following");
  EXPECT_EQ(run("health").exit_code, 0);
  EXPECT_EQ(run("vms").exit_code, 0);
  process->Signal(SIGTERM);
  EXPECT_EQ(process->Wait(), 0);
}

TEST_F(ServiceTest, AnEndDuringAStartOnAHungDiskHasItsExitStatus) {
  if (const std::string why = WhyNoPidfdExitStatus(); !why.empty()) GTEST_SKIP() << why;
  StartDaemonAndStream();
  const auto guest = StartEmptyGuest("vm1");
  WaitFollowed("vm1");
  EndDaemon(SIGKILL);
  std::ofstream(hang()).close();
  const auto process = StartOnHungDisk();
  WaitUntilItWaits();
  guest->Signal(SIGSEGV);
  std::filesystem::remove(hang());
  manager_.Next("READY=1\nSTATUS=following");
  WaitUntil("how it ended is told", [this] {
    const CommandResult why =
        RunCommand({.arguments = VmeventsCommand("unix:" + Options().socket, {"why", "vm1"})});
    return absl::StrContains(why.output, "QEMU was killed by SIGSEGV");
  });
  process->Signal(SIGTERM);
  EXPECT_EQ(process->Wait(), 0);
}

TEST_F(ServiceTest, AStartOnAHungDiskEndsAtOnceWhenItIsStopped) {
  std::ofstream(hang()).close();
  const auto process = StartOnHungDisk();
  WaitUntilItWaits();
  process->Signal(SIGTERM);
  EXPECT_EQ(process->Wait(), 0);
  EXPECT_THAT(Log(), HasSubstr("stopped during the start, while waiting for"));
}

TEST_F(ServiceTest, NotifiesTheWatchdogWhileTheDiskHangs) {
  const auto process = StartOnHungDisk();
  manager_.Next("READY=1");
  std::ofstream(hang()).close();
  qemu_.AddMonitor(watch_dir() + "/vm1.kvmd");
  WaitUntilItWaits();
  WaitUntil("the hang is reported",
            [this] { return absl::StrContains(Log(), "the disk does not answer"); });
  WaitWatchdog(manager_.Count("WATCHDOG=1"));
  std::filesystem::remove(hang());
  process->Signal(SIGTERM);
  EXPECT_EQ(process->Wait(), 0);
}

// Stops one thread of a process, as a hang would, until it is destroyed.
class StoppedThread {
 public:
  explicit StoppedThread(pid_t tid) : tid_(tid) {
    if (ptrace(PTRACE_SEIZE, tid, nullptr, nullptr) != 0) FailErrno("PTRACE_SEIZE");
    if (ptrace(PTRACE_INTERRUPT, tid, nullptr, nullptr) != 0) FailErrno("PTRACE_INTERRUPT");
    int status = 0;
    if (waitpid(tid, &status, __WALL) != tid) FailErrno("waitpid");
  }
  ~StoppedThread() { ptrace(PTRACE_DETACH, tid_, nullptr, nullptr); }
  StoppedThread(const StoppedThread&) = delete;
  StoppedThread& operator=(const StoppedThread&) = delete;

 private:
  const pid_t tid_;
};

// Returns the threads of a process that have this name.
std::vector<pid_t> ThreadsOf(const ChildProcess& process, const std::string& name) {
  std::vector<pid_t> tids;
  const std::string tasks = absl::StrCat("/proc/", process.pid(), "/task");
  for (const auto& task : std::filesystem::directory_iterator(tasks)) {
    if (ReadFile(task.path().string() + "/comm") != name + "\n") continue;
    tids.push_back(std::stoi(task.path().filename()));
  }
  return tids;
}

TEST_F(ServiceTest, AThreadThatHangsIsNamedAndKeepsTheWatchdogSilent) {
  const auto process = Start();
  manager_.Next("WATCHDOG=1");
  for (const std::string name : {"watcher", "pump", "acceptor"}) {
    const std::vector<pid_t> tids = ThreadsOf(*process, name);  // there are two pumps
    ASSERT_FALSE(tids.empty()) << name;
    const size_t before = Log().size();
    // A thread that is only slow may be named as well.
    const auto is_named = [&] {
      const std::vector<std::string> lines = absl::StrSplit(Log().substr(before), '\n');
      return std::any_of(lines.begin(), lines.end(), [&](const std::string& line) {
        return absl::StrContains(line, "threads not responding for") &&
               absl::StrContains(line, name);
      });
    };
    int notified = 0;
    // A thread may be stopped while it holds a lock, and then also holds up the thread that would
    // name it. So it is stopped again.
    WaitUntil(name + " is missed", [&] {
      constexpr absl::Duration kOnce = absl::Seconds(10);
      const std::list<StoppedThread> stopped(tids.begin(), tids.end());
      const int first = manager_.Count("WATCHDOG=1");
      const absl::Time end = SteadyNow() + kOnce;
      while (!is_named()) {
        if (SteadyNow() > end) return false;
        absl::SleepFor(absl::Milliseconds(10));
      }
      notified = manager_.Count("WATCHDOG=1");
      // The thread may have answered just before it was stopped.
      EXPECT_LE(notified, first + 1);
      return true;
    });
    WaitWatchdog(notified);
  }
  process->Signal(SIGTERM);
  EXPECT_EQ(process->Wait(), 0);
}

TEST_F(ServiceTest, NoSourceServesWhileTheWatcherHangs) {
  const auto process = Start();
  manager_.Next("READY=1");
  const auto serves = [this](const std::string& service) {
    return RunCommand({.arguments = VmeventsCommand("unix:" + Options().socket,
                                                    {"health", service, "--timeout", "1s"})})
               .exit_code == 0;
  };
  const std::vector<std::string> sources = {"watch", "libvirt", "sources"};
  for (const std::string& service : sources) {
    WaitUntil(service + " serves", [&] { return serves(service); });
  }
  const std::vector<pid_t> tids = ThreadsOf(*process, "watcher");
  ASSERT_EQ(tids.size(), 1);
  const auto is_reported = [this] {
    return absl::StrContains(Log(), "the watcher has not responded for");
  };
  // The thread may be stopped while it holds a lock that the health service needs. So it is stopped
  // again.
  WaitUntil("the silence is reported, and no source serves", [&] {
    const StoppedThread stopped(tids.front());
    const absl::Time end = SteadyNow() + absl::Seconds(10);
    while (!is_reported()) {
      if (SteadyNow() > end) return false;
      absl::SleepFor(absl::Milliseconds(10));
    }
    return std::none_of(sources.begin(), sources.end(), serves);
  });
  for (const std::string& service : sources) {
    WaitUntil(service + " serves again", [&] { return serves(service); });
  }
  process->Signal(SIGTERM);
  EXPECT_EQ(process->Wait(), 0);
}

TEST_F(ServiceTest, EveryThreadHasAName) {
  StartDaemonAndStream();  // so that gRPC's threads exist
  const std::string tasks = absl::StrCat("/proc/", daemon().pid(), "/task");
  std::vector<std::string> names;
  WaitUntil("the main thread alone has the program's name", [&] {  // a young thread has it, too
    names.clear();
    for (const auto& task : std::filesystem::directory_iterator(tasks)) {
      names.push_back(ReadFile(task.path().string() + "/comm"));
    }
    return std::count(names.begin(), names.end(), "vmeventd\n") == 1;
  });
  EXPECT_EQ(ReadFile(absl::StrCat("/proc/", daemon().pid(), "/comm")), "vmeventd\n");
  for (const char* name : {"watcher\n", "pump\n", "history\n", "streams\n", "signals\n", "log\n"}) {
    EXPECT_THAT(names, testing::Contains(name));
  }
}

// This includes the capabilities by which it watches signals, in each of its threads.
TEST_F(ServiceTest, KeepsOnlyTheCapabilitiesItNeeds) {
  DaemonOptions options = Options();
  options.signal_senders = "auto";
  StartDaemon(options);
  // CHOWN 0, DAC_OVERRIDE 1, NET_BIND_SERVICE 10, NET_ADMIN 12, SYS_PTRACE 19
  constexpr uint64_t kKept = 0x81403;
  for (const auto& task :
       std::filesystem::directory_iterator(absl::StrCat("/proc/", daemon().pid(), "/task"))) {
    const std::string status = ReadFile(task.path().string() + "/status");
    for (const char* set : {"CapEff:", "CapPrm:", "CapInh:", "CapAmb:"}) {
      const uint64_t held = std::stoull(status.substr(status.find(set) + 8), nullptr, 16);
      EXPECT_EQ(held & ~kKept, 0) << set;
    }
    EXPECT_THAT(status, HasSubstr("NoNewPrivs:\t1"));
  }
}

}  // namespace
}  // namespace vmeventd::e2e
