// The process that listens on the monitor and the QEMU that answers may be two.

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/faulty_calls.h"
#include "tests/support/machine_probe.h"
#include "tests/support/unix_socket.h"
#include "tests/watcher/node/restart_test.h"
#include "watcher/core/managers.h"
#include "watcher/core/qemu_arguments.h"
#include "watcher/qmp/socket_file.h"
#include "watcher/runs/command_lines.h"

namespace vmeventd {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

// A launcher may hand over its listening socket while another client holds the monitor.
class ListenerTest : public RestartTest {
 protected:
  // Connects another client, such as the VM's manager, to `monitor` of `qemu` at `vm`.
  UniqueFd HoldMonitor(FakeQemu* qemu, int monitor, const std::string& vm = "vm1") const {
    UniqueFd other(e2e::ConnectUnix(Socket(vm)));
    EXPECT_TRUE(StepUntil([] {}, [&] { return qemu->HasClient(monitor); }));
    return other;
  }
  // Starts while another client of `qemu` holds its monitor.
  UniqueFd StartHeldByAnother(FakeQemu* qemu) {
    options_.greeting_timeout = absl::Milliseconds(30);
    UniqueFd other = HoldMonitor(qemu, qemu->AddMonitor(Socket("vm1")));
    StartUntilHeld();
    return other;
  }
  bool UntilPid(int64_t pid) {
    return Until([&] { return sink_.Latest("vm1")->ref().pid() == pid; });
  }
};

// The listener of a socket is its launcher, also where the monitor was lost.
TEST_F(ListenerTest, ASilentMonitorOfAKnownQemuIsNotTakenForAnotherVm) {
  options_.greeting_timeout = absl::Milliseconds(30);
  qemu_.Rename("libvirtd");
  qemu_.AddMonitor(Socket("vm1"));
  const pid_t real = qemu_.HandOver(true);
  StartUntilRunning();
  ASSERT_TRUE(UntilPid(real));
  const std::string run_id = RunId("vm1");
  FakeMonitor silent{.greet = false};
  qemu_.SetBehavior(0, silent);
  qemu_.CloseClient(0);
  ASSERT_TRUE(UntilProblem("vm1", "no greeting"));
  EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
  qemu_.SetBehavior(0, FakeMonitor());
  ASSERT_TRUE(UntilCount(EventType::kMonitorRestored, 1));
  EXPECT_EQ(RunId("vm1"), run_id);
  KillUntilStopped(real);
  EXPECT_EQ(sink_.Latest("vm1")->ref().run_id(), run_id);
  EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
}

// Before Linux 6.5 the kernel identifies the listener by its pid alone.
TEST_F(ListenerTest, AReusedLauncherPidDoesNotMixUpTwoVms) {
  FakeQemu launcher;
  launcher.Rename("libvirtd");
  launcher.AddMonitor(Socket("vm1"));
  FakeQemu other;
  const int others = other.AddMonitor(Socket("vm2"));
  const pid_t real = launcher.HandOver();
  const ReusedPeerPid reused(launcher.pid(), 0);  // nobody has it yet
  StartUntilRunning();
  ASSERT_TRUE(UntilState("vm2", VmState::kRunning));
  ASSERT_TRUE(UntilPid(real));
  const ReusedPeerPid again(launcher.pid(), other.pid());
  other.CloseListener(others);
  other.CloseClient(others);
  ASSERT_TRUE(UntilCount(EventType::kMonitorLost, 1));
  launcher.CloseClient(0);
  ASSERT_TRUE(UntilCount(EventType::kMonitorRestored, 1));
  EXPECT_EQ(sink_.Last(EventType::kMonitorRestored)->update.status->ref().name(), "vm1");
  KillUntilStopped(real);
  EXPECT_EQ(sink_.Last(EventType::kStopped)->update.status->ref().name(), "vm1");
  EXPECT_EQ(sink_.Count(EventType::kStarted), 2);
}

TEST_F(ListenerTest, AQmpServerWithoutAVmIsNotFollowed) {
  const std::string unknown =
      R"({"error": {"class": "CommandNotFound", "desc": "The command has not been found"}})"
      "\r\n";
  qemu_.Rename("qemu-storage-da");
  qemu_.AddMonitor(
      Socket("vm1"),
      {.replies = {{"query-uuid", unknown}, {"query-name", unknown}, {"query-status", unknown}}});
  Start();
  ASSERT_TRUE(UntilUnfollowed("vm1", "runs no VM"));
  EXPECT_EQ(watcher_->Describe().unfollowed_sockets(0).problem().code(), v1::PROBLEM_CODE_NOT_A_VM);
  EXPECT_EQ(sink_.Count(EventType::kStarted), 0);
  EXPECT_TRUE(StepUntil([] {}, [&] { return !qemu_.HasClient(0); })) << "its client gets in";
  FakeQemu next;
  qemu_.Unlink(0);
  next.AddMonitor(Socket("vm1"));
  EXPECT_TRUE(UntilState("vm1", VmState::kRunning));
}

// A launcher that is not a QEMU is no evidence of the VMs that it listens for.
class LauncherTest : public ListenerTest {
 protected:
  LauncherTest() {
    options_.greeting_timeout = absl::Milliseconds(30);
    launcher_.Rename("libvirtd");
  }

  FakeQemu launcher_;
};

TEST_F(LauncherTest, AMonitorThatAnotherClientHoldsIsListedUntilItGreets) {
  const int first = launcher_.AddMonitor(Socket("vm1"));
  const int second = launcher_.AddMonitor(Socket("vm2"));
  UniqueFd of_first = HoldMonitor(&launcher_, first, "vm1");
  const UniqueFd of_second = HoldMonitor(&launcher_, second, "vm2");
  Start();
  ASSERT_TRUE(Until([&] { return watcher_->Describe().unfollowed_sockets_size() == 2; }));
  EXPECT_EQ(sink_.Count(EventType::kStarted), 0) << "nobody knows of a VM";
  of_first.Reset();
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  EXPECT_TRUE(UntilUnfollowed("vm2", "held by another client"));
  EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
}

TEST_F(LauncherTest, TheNextVmAtTheSamePathIsAnotherRun) {
  launcher_.AddMonitor(Socket("vm1"));
  const pid_t first = launcher_.HandOver(true);
  StartUntilRunning();
  ASSERT_TRUE(UntilPid(first));
  const std::string run_id = RunId("vm1");
  KillUntilStopped(first);
  unlink(Socket("vm1").c_str());
  FakeQemu next;
  next.Rename("libvirtd");
  next.AddMonitor(Socket("vm1"));
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  EXPECT_NE(RunId("vm1"), run_id);
}

// Each process has the command line of a QEMU, of another program, or one that never comes.
class FakeCommandLines : public CommandLines {
 public:
  std::shared_ptr<const CommandLineRead> Begin(int64_t /*pid*/) override {
    auto read = std::make_shared<CommandLineRead>();
    SeenSocket socket;
    MonitorOwners owners;
    if (owner != nullptr && LookAtSocket(named, &socket) == 0) {
      owners.emplace_back(InodeOf(socket.identity), owner);
    }
    if (come) {
      read->Finish(of_qemus ? std::make_unique<const QemuArguments>(arguments) : nullptr, "", "",
                   owners);
    }
    return read;
  }
  std::shared_ptr<const NamedMonitors> BeginMonitors() override {
    auto monitors = std::make_shared<NamedMonitors>();
    SeenSocket socket;
    if (!named.empty() && LookAtSocket(named, &socket) == 0) {
      monitors->Add(InodeOf(socket.identity), owner);
    }
    monitors->Finish();
    return monitors;
  }

  bool come = true;
  bool of_qemus = true;
  QemuArguments arguments;
  std::string named;               // path of a monitor that a QEMU's command line names
  const Manager* owner = nullptr;  // the manager that needs it
};

// A QEMU that was given another name: -name process=.
class RenamedQemuTest : public ListenerTest {
 protected:
  RenamedQemuTest() {
    options_.command_lines = command_lines_;
    qemu_.Rename("web1");
  }

  const std::shared_ptr<FakeCommandLines> command_lines_ = std::make_shared<FakeCommandLines>();
};

TEST_F(RenamedQemuTest, ItsEndIsSeenEvenIfAnotherClientHoldsItsMonitor) {
  const UniqueFd other = StartHeldByAnother(&qemu_);
  ASSERT_EQ(sink_.Latest("vm1")->ref().pid(), qemu_.pid());
  EXPECT_EQ(RunId("vm1").find("-s"), std::string::npos) << "it is named by its process";
  qemu_.CloseListener(0);
  const uint64_t refused = watcher_->counters().OfSource("vmeventd_monitor_connect_retries_total");
  ASSERT_TRUE(Until([&] {
    return watcher_->counters().OfSource("vmeventd_monitor_connect_retries_total") > refused;
  }));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
  KillUntilStopped(&qemu_);
  EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
}

TEST_F(RenamedQemuTest, WithNoShutdownItsGuestMayBeDownIfAnotherClientHoldsItsMonitor) {
  command_lines_->arguments.traits.stays_down = true;
  const UniqueFd other = StartHeldByAnother(&qemu_);
  KillUntilStopped(&qemu_);
  EXPECT_EQ(Stopped().rule(), "down-unseen");
}

TEST_F(RenamedQemuTest, AnExitByTheGuestsDeviceIsTheGuestsEvenIfAnotherClientHoldsTheMonitor) {
  if (const std::string why = WhyNoPidfdExitStatus(); !why.empty()) GTEST_SKIP() << why;
  // The QEMU has run for so long that it is not starting.
  struct LateClock : SystemClock {
    Instant Now() const override {
      const Instant now = SystemClock::Now();
      return {now.wall + absl::Hours(1), now.monotonic + absl::Hours(1)};
    }
  };
  static const LateClock clock;
  command_lines_->arguments.traits.guest_can_exit = true;
  options_.greeting_timeout = absl::Milliseconds(30);
  const UniqueFd other = HoldMonitor(&qemu_, qemu_.AddMonitor(Socket("vm1")));
  StartWithClock(&clock);
  ASSERT_TRUE(UntilProblem("vm1", "held by another client"));
  qemu_.Exit(3);
  qemu_.Reap();
  ExpectStopped(ShutdownClass::kUser, "guest-exit");
}

// Programs that are no QEMU, such as virtiofsd and swtpm, which serve one client.
class ForeignListenerTest : public ListenerTest {
 protected:
  ForeignListenerTest() {
    options_.command_lines = command_lines_;
    options_.greeting_timeout = absl::Milliseconds(30);
    command_lines_->of_qemus = false;
    qemu_.Rename("virtiofsd");
  }
  // This process, which is not a QEMU, listens at `path`.
  void Listen(const std::string& path) {
    listener_ = UniqueFd(e2e::ListenUnix(path));
    ASSERT_EQ(fcntl(listener_.get(), F_SETFL, O_NONBLOCK), 0);
  }
  int CountConnections() {
    int connections = 0;
    while (UniqueFd(accept(listener_.get(), nullptr, nullptr)).valid()) ++connections;
    return connections;
  }
  bool UntilLeftAlone(const std::string& path) {
    return Until([&] {
      const v1::GetServerInfoResponse info = watcher_->Describe();
      return info.unfollowed_sockets_size() == 1 && info.unfollowed_sockets(0).path() == path &&
             info.unfollowed_sockets(0).problem().code() == v1::PROBLEM_CODE_NO_MONITOR;
    });
  }

  const std::shared_ptr<FakeCommandLines> command_lines_ = std::make_shared<FakeCommandLines>();
  UniqueFd listener_;
};

TEST_F(ForeignListenerTest, IsNeverConnectedToIfItsNameIsNoMonitorsName) {
  const std::string path = directory_.Path("ctrl/virtiofs.sock");
  options_.sources.watches = {{directory_.Path("ctrl"), "*.sock"}};
  Listen(path);
  Start();
  ASSERT_TRUE(UntilLeftAlone(path));
  Turns();
  EXPECT_EQ(CountConnections(), 0);
  EXPECT_EQ(sink_.Count(EventType::kStarted), 0);
}

TEST_F(ForeignListenerTest, AMonitorThatACommandLineNamesIsFollowed) {
  const std::string path = directory_.Path("ctrl/vm1.sock");
  options_.greeting_timeout = absl::Minutes(2);
  options_.sources.watches = {{directory_.Path("ctrl"), "*.sock"}};
  qemu_.Rename("qemu-system-x86");
  qemu_.AddMonitor(path);
  Start();
  Turns();
  EXPECT_EQ(sink_.Count(EventType::kStarted), 0);
  command_lines_->named = path;
  EXPECT_TRUE(UntilState("vm1", VmState::kRunning));
}

TEST_F(ForeignListenerTest, AMonitorThatAManagerNeedsIsLeftToItWhereverItIs) {
  const std::string path = directory_.Path("ctrl/qmp.sock");
  options_.sources.watches = {{directory_.Path("ctrl"), "*.sock"}};
  command_lines_->named = path;
  command_lines_->owner = OwnerOfPath("/home/u/.lima/vm1/qmp.sock");
  Listen(path);
  StartWithManualClock();
  ASSERT_TRUE(UntilInTime([&] { return watcher_->Describe().unfollowed_sockets_size() == 1; }));
  const v1::Problem problem = watcher_->Describe().unfollowed_sockets(0).problem();
  EXPECT_EQ(problem.code(), v1::PROBLEM_CODE_MANAGERS_OWN);
  EXPECT_THAT(problem.text(), AllOf(HasSubstr("belongs to lima, which needs it to stop the VM"),
                                    HasSubstr("QEMU_SYSTEM_X86_64")));
  EXPECT_EQ(CountConnections(), 0);
  options_.sources.watch_manager_sockets = true;
  watcher_.reset();
  StartWithManualClock();
  EXPECT_TRUE(UntilInTime([&] { return CountConnections() == 1; }));
}

// A container may have the manager's directory at another path.
TEST_F(ListenerTest, AMonitorThatTheCommandLineShowsToBeAManagersIsReleased) {
  const auto command_lines = std::make_shared<FakeCommandLines>();
  options_.command_lines = command_lines;
  command_lines->named = Socket("100");
  command_lines->owner = OwnerOfPath("/run/qemu-server/100.qmp");
  qemu_.AddMonitor(Socket("100"));
  Start();
  ASSERT_TRUE(Until([&] { return watcher_->Describe().unfollowed_sockets_size() == 1; }));
  const v1::Problem problem = watcher_->Describe().unfollowed_sockets(0).problem();
  EXPECT_EQ(problem.code(), v1::PROBLEM_CODE_MANAGERS_OWN);
  EXPECT_THAT(problem.text(), HasSubstr("belongs to Proxmox VE"));
  Turns();
  EXPECT_THAT(qemu_.Commands(0), ElementsAre(HasSubstr("qmp_capabilities")))
      << "and it is not connected to again";
  EXPECT_EQ(sink_.Count(EventType::kStarted), 0);
}

TEST_F(ForeignListenerTest, IsConnectedToOnceWithoutAGreeting) {
  Listen(Socket("vm1"));
  Start();
  ASSERT_TRUE(UntilLeftAlone(Socket("vm1")));
  EXPECT_THAT(watcher_->Describe().unfollowed_sockets(0).problem().text(),
              AllOf(HasSubstr(absl::StrCat("watcher_test (pid ", getpid(), "), is not a QEMU")),
                    Not(HasSubstr("must be called"))));
  Turns();
  EXPECT_EQ(CountConnections(), 1);
  EXPECT_EQ(sink_.Count(EventType::kStarted), 0);
}

// A launcher may have listened for a QEMU whose monitor another client had.
TEST_F(ForeignListenerTest, IsTriedAgainAMinuteLater) {
  Listen(Socket("vm1"));
  StartWithManualClock();
  ASSERT_TRUE(UntilInTime([&] { return CountConnections() == 1; }));
  EXPECT_TRUE(UntilInTime([&] { return CountConnections() == 1; }, absl::Seconds(1)));
}

TEST_F(ForeignListenerTest, IsConnectedToOnceIfItClosesOrSendsSomethingElse) {
  for (const char* greeting : {"", "220 mail.example.com ESMTP\r\n"}) {
    const int monitor = qemu_.AddMonitor(Socket("vm1"), {.greeting = greeting});
    Start();
    if (*greeting == '\0') {
      ASSERT_TRUE(Until([&] { return qemu_.HasClient(monitor); }));
      qemu_.CloseClient(monitor);
    }
    ASSERT_TRUE(UntilLeftAlone(Socket("vm1"))) << greeting;
    EXPECT_FALSE(qemu_.HasClient(monitor));
    EXPECT_EQ(sink_.Count(EventType::kStarted), 0);
    qemu_.CloseListener(monitor);
    qemu_.Unlink(monitor);
    watcher_.reset();
  }
}

TEST_F(ForeignListenerTest, AnotherSocketAtItsPathIsConnectedTo) {
  Listen(Socket("vm1"));
  Start();
  ASSERT_TRUE(UntilLeftAlone(Socket("vm1")));
  unlink(Socket("vm1").c_str());
  qemu_.Rename("qemu-system-x86");
  qemu_.AddMonitor(Socket("vm1"));
  EXPECT_TRUE(UntilState("vm1", VmState::kRunning));
}

// A QEMU with several monitors.
class SeveralSocketsTest : public RestartTest {
 protected:
  SeveralSocketsTest() { options_.greeting_timeout = absl::Seconds(1); }
};

TEST_F(SeveralSocketsTest, ASocketThatGreetsLaterIsFound) {
  qemu_.AddMonitor(Socket("vm1"), {.greet = false});
  const int second = qemu_.AddMonitor(Socket("vm2"), {.greet = false});
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 1));
  qemu_.SetBehavior(second, {});
  // The run has the name of the socket that was being tried when it was published.
  const std::string name = sink_.Latest("vm1") != nullptr ? "vm1" : "vm2";
  ASSERT_TRUE(UntilState(name, VmState::kRunning));
  PowerOff(&qemu_, second);
  EXPECT_EQ(LastClass(), ShutdownClass::kUser);
}

}  // namespace
}  // namespace vmeventd
