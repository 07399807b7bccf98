// Who sent the signal that ended a QEMU, by the kernel's own records.

#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "tests/support/child_process.h"
#include "tests/support/fake_service_manager.h"
#include "tests/support/guest.h"
#include "tests/support/machine_probe.h"
#include "tests/support/qemu_command.h"
#include "tests/system/daemon_waits.h"
#include "tests/system/e2e_test.h"
#include "tests/system/vm_end.h"
#include "tests/watcher/runs/child.h"
#include "tests/watcher/runs/memory_cgroup.h"

namespace vmeventd::e2e {
namespace {

using testing::Contains;
using testing::ContainsRegex;
using testing::HasSubstr;

// Runs a program without these capabilities.
std::vector<std::string> Without(const std::string& capabilities) {
  return {"setpriv", "--bounding-set", capabilities, "--inh-caps", capabilities};
}

class SendersTest : public E2eTest {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNoSignalTrace(); !why.empty()) GTEST_SKIP() << why;
    Begin();
    const v1::SignalSenderWatch senders = daemon().GetServerInfo().signal_senders();
    ASSERT_TRUE(senders.active()) << senders.problem().text();
  }
  virtual void Begin() { StartWatching({}); }
  // The daemon has no CAP_SYS_ADMIN, which perf_event_open would take where perf_event_paranoid
  // is 3. `wrapper`: a command that runs it.
  void StartWatching(const std::vector<std::string>& wrapper) {
    DaemonOptions options = Options();
    options.signal_senders = "auto";
    options.wrapper = Without("-sys_admin");
    options.wrapper.insert(options.wrapper.end(), wrapper.begin(), wrapper.end());
    StartDaemonAndStream(options);
  }

  std::string Script(const std::string& name, const std::string& commands) const {
    std::string path = dir() / name;
    std::ofstream(path) << "#!/bin/sh\n" << commands << "\n";
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return path;
  }
  // vm1, an empty QEMU that a script starts, which is attached.
  std::unique_ptr<Guest> StartByScript(const std::string& script) {
    auto guest = StartGuest({.boot = Boot::kNothing, .program = script});
    WaitUntilAttached(daemon(), "vm1");
    return guest;
  }

  // The end of an empty QEMU by `end`, which is given its pid.
  v1::Event StoppedBy(const std::string& name, absl::FunctionRef<void(pid_t)> end) {
    const auto guest = StartEmptyGuest(name);
    WaitUntilAttached(daemon(), name);
    end(guest->pid());
    return WaitStopped(name);
  }
};

TEST_F(SendersTest, AProcessOfTheHostThatKillsIsNamed) {
  const v1::Event stopped = StoppedBy("vm1", [](pid_t pid) { kill(pid, SIGKILL); });
  const v1::ShutdownDetail& end = stopped.shutdown();
  ExpectEnd(stopped, kHostKill);
  EXPECT_EQ(end.rule(), "killed-by-host");
  EXPECT_EQ(end.sender().signal(), SIGKILL);
  EXPECT_EQ(end.sender().pid(), getpid());
  EXPECT_TRUE(end.sender().has_uid());
  EXPECT_EQ(end.sender().uid(), getuid());
  EXPECT_EQ(end.sender().command(), "e2e_test");
  EXPECT_EQ(end.sender().executable(), std::filesystem::read_symlink("/proc/self/exe").string());
  EXPECT_FALSE(end.sender().of_qemu());
  EXPECT_THAT(
      EvidenceOf(stopped),
      Contains(HasSubstr(absl::StrCat("SIGKILL sent by e2e_test (pid ", getpid(), ", uid 0"))));
  EXPECT_EQ(daemon().GetServerInfo().signal_senders().lost(), 0U);
}

TEST_F(SendersTest, AKillOfTheContainersFirstProcessIsAHostKill) {
  const auto guest = StartByScript(Script("container",
                                          "exec unshare --pid --fork --mount-proc sh -c "
                                          "'qemu-system-x86_64 \"$@\" <&- & wait' sh \"$@\""));
  const std::string children =
      ReadFile(absl::StrCat("/proc/", guest->pid(), "/task/", guest->pid(), "/children"));
  kill(static_cast<pid_t>(std::stol(children)), SIGKILL);
  const v1::Event stopped = ExpectStopped(kHostKill);
  EXPECT_EQ(stopped.shutdown().sender().pid(), getpid());
  EXPECT_EQ(stopped.shutdown().sender().command(), "e2e_test");
  EXPECT_THAT(EvidenceOf(stopped),
              Contains(ContainsRegex("because the first process of its container \\(pid [0-9]+\\) "
                                     "ended after a SIGKILL of e2e_test")));
}

TEST_F(SendersTest, ADeathSignalHasNoSender) {
  const auto guest = StartByScript(
      Script("launch", "setpriv --pdeathsig KILL qemu-system-x86_64 \"$@\" <&- &\nwait"));
  guest->Signal(SIGSEGV);
  const v1::Event stopped = ExpectStopped(kUnobserved);
  EXPECT_TRUE(stopped.shutdown().sender().kernel());
  EXPECT_THAT(
      EvidenceOf(stopped),
      Contains(HasSubstr(absl::StrCat("SIGKILL sent by the kernel, because its parent launch (pid ",
                                      guest->pid(), ")"))));
}

TEST_F(SendersTest, ASigquitIsAHostKillAndASegfaultACrash) {
  const v1::Event quit = StoppedBy("vm1", [](pid_t pid) { kill(pid, SIGQUIT); });
  ExpectEnd(quit, kHostKill);
  EXPECT_EQ(quit.shutdown().sender().signal(), SIGQUIT);
  EXPECT_EQ(quit.shutdown().sender().pid(), getpid());
  ExpectEnd(StoppedBy("vm2", [](pid_t pid) { kill(pid, SIGSEGV); }), kQemuCrashed);
}

TEST_F(SendersTest, ASignalThatQemuObeysHasItsSender) {
  const v1::Event stopped = StoppedBy("vm1", [](pid_t pid) { kill(pid, SIGTERM); });
  ExpectEnd(stopped, kHostSignal);
  EXPECT_EQ(stopped.shutdown().sender().signal(), SIGTERM);
  EXPECT_EQ(stopped.shutdown().sender().pid(), getpid());
}

TEST_F(SendersTest, AKillByAProcessThatHasEndedIsAHostKill) {
  const v1::Event stopped = StoppedBy("vm1", [](pid_t pid) {
    Child killer([pid] {
      kill(pid, SIGKILL);
      return 0;
    });
    killer.AwaitEnd();
  });
  ExpectEnd(stopped, kHostKill);
  EXPECT_GT(stopped.shutdown().sender().pid(), 0);
}

TEST_F(SendersTest, ASignalFromAProgramThatQemuStartedCountsAsQemus) {
  const auto guest = StartEmptyGuest("vm1");
  WaitUntilAttached(daemon(), "vm1");
  const std::string helper = Script("helper", "kill -KILL $PPID\nexec sleep 1000");
  // QEMU ends within the command.
  EXPECT_ANY_THROW(guest->manager().Execute(
      "netdev_add", {{"type", "bridge"}, {"id", "net0"}, {"br", "br0"}, {"helper", helper}}));
  const v1::Event stopped = ExpectStopped(kQemuKilled);
  EXPECT_TRUE(stopped.shutdown().sender().of_qemu());
  kill(static_cast<pid_t>(stopped.shutdown().sender().pid()), SIGKILL);
}

TEST_F(SendersTest, AVmWhoseMemoryCgroupIsFullIsTheKernelsVictim) {
  constexpr size_t kLimit = size_t{16} << 20;  // limit of the memory that it takes from then on
  const MemoryCgroup cgroup(kLimit);
  if (!cgroup.made()) GTEST_SKIP() << "no memory cgroup can be made here";
  const auto guest = StartGuest({.boot = Boot::kLinux});
  WaitFollowed("vm1");
  ASSERT_TRUE(cgroup.Add(guest->pid()));
  guest->Type("dd if=/dev/zero of=/file bs=1M count=60");
  const v1::Event stopped = ExpectStopped(kOutOfMemory);
  EXPECT_TRUE(stopped.shutdown().sender().kernel());
  EXPECT_THAT(EvidenceOf(stopped), Contains(HasSubstr("the kernel named it as its OOM victim")));
}

// The service manager stores the records.
class SendersOverARestartTest : public SendersTest {
 protected:
  void Begin() override {
    std::vector<UniqueFd> stored;
    StartWatching(manager_->Wrapper(&stored));
  }

  // The end of an empty QEMU by `end` while no daemon runs.
  v1::Event StoppedMeanwhile(const std::string& name, absl::FunctionRef<void(pid_t)> end) {
    const auto guest = StartEmptyGuest(name);
    WaitUntilAttached(daemon(), name);
    EndDaemon(SIGTERM);
    end(guest->pid());
    guest->WaitExit();
    Begin();
    return WaitStopped(name);
  }

  std::unique_ptr<FakeServiceManager> manager_ =
      std::make_unique<FakeServiceManager>(dir() / "notify");
};

TEST_F(SendersOverARestartTest, TheSenderOfAKillDuringTheRestartIsKnown) {
  for (const char* name : {"vm1", "vm2"}) {
    const v1::Event stopped = StoppedMeanwhile(name, [](pid_t pid) { kill(pid, SIGKILL); });
    ExpectEnd(stopped, kHostKill);
    EXPECT_EQ(stopped.shutdown().sender().pid(), getpid());
    EXPECT_EQ(stopped.shutdown().sender().command(), "e2e_test");
  }
}

class UnwatchedSendersTest : public E2eTest {};

TEST_F(UnwatchedSendersTest, WithoutTheCapabilityAKillIsUnknownAndInfoNamesIt) {
  if (const std::string why = WhyNoSignalTrace(); !why.empty()) GTEST_SKIP() << why;
  DaemonOptions options = Options();
  options.signal_senders = "auto";
  options.wrapper = Without("-perfmon,-sys_admin");
  StartDaemonAndStream(options);
  const v1::SignalSenderWatch senders = daemon().GetServerInfo().signal_senders();
  EXPECT_FALSE(senders.active());
  EXPECT_EQ(senders.problem().code(), v1::PROBLEM_CODE_NO_CAPABILITY);
  EXPECT_THAT(senders.problem().text(), HasSubstr("(vmeventd has no CAP_PERFMON)"));
  const auto guest = StartEmptyGuest("vm1");
  WaitUntilAttached(daemon(), "vm1");
  guest->Signal(SIGKILL);
  const v1::Event stopped = ExpectStopped(kUnobserved);
  EXPECT_EQ(stopped.shutdown().rule(), "killed-unseen");
  EXPECT_THAT(EvidenceOf(stopped), Contains(HasSubstr("sender not recorded: ")));
}

class SendersOffTest : public E2eTest, public testing::WithParamInterface<int> {};

INSTANTIATE_TEST_SUITE_P(Signals, SendersOffTest, testing::Values(SIGKILL, SIGQUIT),
                         [](const auto& test) { return test.param == SIGKILL ? "Kill" : "Quit"; });

TEST_P(SendersOffTest, WithoutSenderTracingAKillIsUnknown) {
  DaemonOptions options = Options();
  options.signal_senders = "off";
  StartDaemonAndStream(options);
  const auto guest = StartEmptyGuest("vm1");
  WaitUntilAttached(daemon(), "vm1");
  guest->Signal(GetParam());
  const v1::Event stopped = ExpectStopped(kUnobserved);
  EXPECT_EQ(stopped.shutdown().rule(), "killed-unseen");
  EXPECT_THAT(EvidenceOf(stopped),
              Contains("sender not recorded: this vmeventd sees no senders of signals"));
}

TEST_F(UnwatchedSendersTest, RequiredSendersPreventAStartWithoutThem) {
  if (getuid() != 0) GTEST_SKIP() << "needs root";
  DaemonOptions options = Options();
  options.signal_senders = "require";
  options.wrapper = Without("-bpf,-perfmon,-sys_admin");
  const auto result = RunCommand(DaemonCommand(options));
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.error, HasSubstr("--signal-senders=require: "));
}

}  // namespace
}  // namespace vmeventd::e2e
