// Who sent the signal that ended a QEMU, by the kernel's own records.

#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/system.h"
#include "gmock/gmock.h"
#include "tests/support/child_process.h"
#include "tests/support/fake_service_manager.h"
#include "tests/support/machine_probe.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"
#include "tests/watcher/runs/child.h"

namespace vmeventd::e2e {
namespace {

using testing::Contains;
using testing::ContainsRegex;
using testing::HasSubstr;

// Runs a program without these capabilities.
std::vector<std::string> Without(const std::string& capabilities) {
  return {"setpriv", "--bounding-set", capabilities, "--inh-caps", capabilities};
}

// A process that kills another one and is gone.
void KillAndBeGone(pid_t pid) {
  Child killer([pid] {
    kill(pid, SIGKILL);
    return 0;
  });
  killer.AwaitEnd();
}

class SendersTest : public E2eTest {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNoSignalTrace(); !why.empty()) GTEST_SKIP() << why;
    Begin();
    const v1::SignalSenderWatch senders = daemon().GetServerInfo().signal_senders();
    ASSERT_TRUE(senders.active()) << senders.problem();
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

  // The end of a QEMU by `end`, which is given the pid of the first process of its PID namespace.
  // That process runs `after` once QEMU is started.
  v1::Event StoppedInContainer(const std::string& name, const std::string& after,
                               absl::FunctionRef<void(pid_t)> end) {
    const std::string program = dir() / (name + ".sh");
    std::ofstream(program) << "#!/bin/sh\nexec unshare --pid --fork --mount-proc sh -c "
                              "'qemu-system-x86_64 \"$@\" <&- & "
                           << after << "' sh \"$@\"\n";
    std::filesystem::permissions(program, std::filesystem::perms::owner_all);
    const auto guest = StartGuest({.name = name, .boot = Boot::kNothing, .program = program});
    WaitUntilAttached(daemon(), name);
    const std::string children =
        ReadFile(absl::StrCat("/proc/", guest->pid(), "/task/", guest->pid(), "/children"));
    end(static_cast<pid_t>(std::stol(children)));
    return WaitStopped(name);
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

TEST_F(SendersTest, WhoKillsTheFirstProcessOfItsContainerKillsTheVm) {
  const v1::Event stopped =
      StoppedInContainer("vm1", "wait", [](pid_t first) { kill(first, SIGKILL); });
  ExpectEnd(stopped, kHostKill);
  EXPECT_EQ(stopped.shutdown().sender().pid(), getpid());
  EXPECT_EQ(stopped.shutdown().sender().command(), "e2e_test");
  EXPECT_THAT(EvidenceOf(stopped),
              Contains(ContainsRegex("because the first process of its container \\(pid [0-9]+\\) "
                                     "ended after a SIGKILL of e2e_test")));
}

TEST_F(SendersTest, WhoAsksTheFirstProcessOfItsContainerToEndEndsTheVm) {
  const v1::Event stopped = StoppedInContainer("vm1", "trap \"exit 0\" TERM; wait",
                                               [](pid_t first) { kill(first, SIGTERM); });
  ExpectEnd(stopped, kHostKill);
  EXPECT_EQ(stopped.shutdown().sender().pid(), getpid());
}

TEST_F(SendersTest, AContainerWhoseFirstProcessEndsByItselfIsUnknown) {
  const std::string end = dir() / "end";
  const v1::Event stopped =
      StoppedInContainer("vm1", absl::StrCat("until test -e ", end, "; do sleep 0.1; done"),
                         [&](pid_t) { std::ofstream(end) << "now"; });
  ExpectEnd(stopped, kUnobserved);
  EXPECT_EQ(stopped.shutdown().rule(), "killed-unseen");
}

TEST_F(SendersTest, ADeathSignalIsOfNobody) {
  const std::string program = dir() / "launch";
  std::ofstream(program)
      << "#!/bin/sh\nsetpriv --pdeathsig KILL qemu-system-x86_64 \"$@\" <&- &\nwait\n";
  std::filesystem::permissions(program, std::filesystem::perms::owner_all);
  const auto guest = StartGuest({.name = "vm1", .boot = Boot::kNothing, .program = program});
  WaitUntilAttached(daemon(), "vm1");
  guest->Signal(SIGSEGV);
  const v1::Event stopped = ExpectStopped(kUnobserved);
  EXPECT_TRUE(stopped.shutdown().sender().kernel());
  EXPECT_THAT(
      EvidenceOf(stopped),
      Contains(HasSubstr(absl::StrCat("SIGKILL sent by the kernel, because its parent launch (pid ",
                                      guest->pid(), ")"))));
}

TEST_F(SendersTest, ASigquitIsTheHostsAndASegfaultACrash) {
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

TEST_F(SendersTest, OneThatRunsAnotherProgramSinceIsNamedAsItWas) {
  std::unique_ptr<Child> killer;
  const v1::Event stopped = StoppedBy("vm1", [&](pid_t pid) {
    killer = std::make_unique<Child>([pid] {
      prctl(PR_SET_NAME, "earlyoom");
      kill(pid, SIGKILL);
      execl("/bin/sleep", "sleep", "1000", nullptr);
      return 1;
    });
  });
  ExpectEnd(stopped, kOutOfMemory);
  EXPECT_EQ(stopped.shutdown().sender().command(), "earlyoom");
}

TEST_F(SendersTest, AMemoryKillersNameIsNotBelievedOfQemusOwnUser) {
  constexpr uid_t kUser = 65534;
  for (const uid_t killers_user : {kUser, kUser - 1, uid_t{0}}) {
    const std::string name = absl::StrCat("vm", killers_user);
    const auto guest = StartGuest({.name = name,
                                   .boot = Boot::kNothing,
                                   .arguments = {"-runas", absl::StrCat(kUser, ":", kUser)}});
    WaitUntilAttached(daemon(), name);
    const Child killer([&] {
      prctl(PR_SET_NAME, "earlyoom");
      // As a service of another user would be permitted to.
      prctl(PR_SET_KEEPCAPS, 1);
      const bool other = killers_user != kUser && killers_user != 0;
      if (!other && setuid(killers_user) != 0) return 1;
      if (other && syscall(SYS_setresuid, killers_user, 0, 0) != 0) return 1;
      // It asks first, and QEMU obeys; or it does not ask.
      kill(guest->pid(), killers_user == 0 ? SIGTERM : SIGKILL);
      return Sleep();
    });
    const v1::Event stopped = ExpectStopped(killers_user == kUser ? kHostKill : kOutOfMemory, name);
    EXPECT_EQ(stopped.shutdown().sender().uid(), killers_user);
    EXPECT_EQ(stopped.shutdown().sender().command(), "earlyoom");
    if (killers_user == 0) {
      EXPECT_EQ(stopped.shutdown().rule(), "memory-killer");
    }
  }
}

TEST_F(SendersTest, ASenderThatIsGoneIsAProcessOfTheHost) {
  const v1::Event stopped = StoppedBy("vm1", KillAndBeGone);
  ExpectEnd(stopped, kHostKill);
  EXPECT_GT(stopped.shutdown().sender().pid(), 0);
}

TEST_F(SendersTest, AProgramThatQemuStartedIsItsOwn) {
  const auto guest = StartEmptyGuest("vm1");
  WaitUntilAttached(daemon(), "vm1");
  const std::string helper = dir() / "helper";
  std::ofstream(helper) << "#!/bin/sh\nkill -KILL $PPID\nexec sleep 1000\n";
  std::filesystem::permissions(helper, std::filesystem::perms::owner_all);
  // QEMU ends within the command.
  EXPECT_ANY_THROW(guest->manager().Execute(
      "netdev_add", {{"type", "bridge"}, {"id", "net0"}, {"br", "br0"}, {"helper", helper}}));
  const v1::Event stopped = ExpectStopped(kQemuKilled);
  EXPECT_TRUE(stopped.shutdown().sender().of_qemu());
  kill(static_cast<pid_t>(stopped.shutdown().sender().pid()), SIGKILL);
}

TEST_F(SendersTest, AnOrphanThatQemuMayHaveStartedIsNotKnownToBeAnybodys) {
  const v1::Event stopped = StoppedBy("vm1", [](pid_t pid) {
    Child parent([pid] {
      const pid_t own = getpid();
      if (fork() != 0) return 0;
      while (getppid() == own) sched_yield();
      kill(pid, SIGKILL);
      alarm(60);
      return Sleep();
    });
    parent.Reap();
  });
  ExpectEnd(stopped, kUnobserved);
  EXPECT_EQ(stopped.shutdown().rule(), "killed-unseen");
  EXPECT_THAT(EvidenceOf(stopped), Contains(HasSubstr("SIGKILL sent by e2e_test (pid ")));
  EXPECT_THAT(EvidenceOf(stopped),
              Contains(HasSubstr("perhaps QEMU's own: what started it is gone)")));
  kill(static_cast<pid_t>(stopped.shutdown().sender().pid()), SIGKILL);
}

TEST_F(SendersTest, AVmWhoseMemoryCgroupIsFullIsTheKernelsVictim) {
  constexpr size_t kLimit = size_t{16} << 20;  // of what it takes from then on
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

// With a service manager that stores the records.
class SendersOverARestartTest : public SendersTest {
 protected:
  void Begin() override {
    std::vector<UniqueFd> stored;
    StartWatching(manager_->Wrapper(&stored));
  }

  // The end of an empty QEMU by `end` while no daemon runs.
  v1::Event StoppedMeanwhile(const std::string& name, absl::FunctionRef<void(pid_t)> end,
                             int how = SIGTERM) {
    const auto guest = StartEmptyGuest(name);
    WaitUntilAttached(daemon(), name);
    EndDaemon(how);
    end(guest->pid());
    guest->WaitExit();
    Begin();
    return WaitStopped(name);
  }

  std::unique_ptr<FakeServiceManager> manager_ =
      std::make_unique<FakeServiceManager>(dir() / "notify");
};

TEST_F(SendersOverARestartTest, WhoKilledMeanwhileIsKnown) {
  for (const char* name : {"vm1", "vm2"}) {
    const v1::Event stopped = StoppedMeanwhile(name, [](pid_t pid) { kill(pid, SIGKILL); });
    ExpectEnd(stopped, kHostKill);
    EXPECT_EQ(stopped.shutdown().sender().pid(), getpid());
    EXPECT_EQ(stopped.shutdown().sender().command(), "e2e_test");
  }
}

TEST_F(SendersOverARestartTest, WhoKilledOverACrashOfTheDaemonIsUnknown) {
  const v1::Event stopped = StoppedMeanwhile(
      "vm1", [](pid_t pid) { kill(pid, SIGKILL); }, SIGKILL);
  EXPECT_EQ(stopped.shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_UNKNOWN) << stopped.message();
  EXPECT_TRUE(daemon().GetServerInfo().signal_senders().active());
}

TEST_F(SendersOverARestartTest, AMemoryKillerMeanwhileIsKnown) {
  std::unique_ptr<Child> killer;
  const v1::Event stopped = StoppedMeanwhile("vm1", [&](pid_t pid) {
    killer = std::make_unique<Child>([pid] {
      prctl(PR_SET_NAME, "earlyoom");
      // What began in the tick of the signal, and is read later, may be another one.
      const absl::Time began = absl::Now();
      while (absl::Now() - began < absl::Milliseconds(30)) sched_yield();
      kill(pid, SIGKILL);
      return Sleep();
    });
  });
  ExpectEnd(stopped, kOutOfMemory);
}

TEST_F(SendersOverARestartTest, ASenderThatIsGoneAndMayHaveBeenQemusOwnIsNotKnown) {
  // Of QEMU's own user, root, and of its cgroup.
  const v1::Event stopped = StoppedMeanwhile("vm1", KillAndBeGone);
  EXPECT_EQ(stopped.shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_UNKNOWN) << stopped.message();
  EXPECT_EQ(stopped.shutdown().rule(), "killed-unseen");
  EXPECT_THAT(EvidenceOf(stopped),
              Contains(HasSubstr("by a process that is gone and may have been QEMU's")));
}

class UnwatchedSendersTest : public E2eTest {};

TEST_F(UnwatchedSendersTest, WithoutTheRightAKillIsACrashAndInfoSaysWhichOne) {
  if (const std::string why = WhyNoSignalTrace(); !why.empty()) GTEST_SKIP() << why;
  DaemonOptions options = Options();
  options.signal_senders = "auto";
  options.wrapper = Without("-perfmon,-sys_admin");
  StartDaemonAndStream(options);
  const v1::SignalSenderWatch senders = daemon().GetServerInfo().signal_senders();
  EXPECT_FALSE(senders.active());
  EXPECT_THAT(senders.problem(), HasSubstr("(vmeventd has no CAP_PERFMON)"));
  const auto guest = StartEmptyGuest("vm1");
  WaitUntilAttached(daemon(), "vm1");
  guest->Signal(SIGKILL);
  const v1::Event stopped = ExpectStopped(kQemuKilled);
  EXPECT_THAT(EvidenceOf(stopped), Contains("sender not recorded"));
}

TEST_F(UnwatchedSendersTest, WhereSendersAreRequiredTheDaemonDoesNotStartWithoutThem) {
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
