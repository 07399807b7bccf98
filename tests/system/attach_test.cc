// When a monitor is attached, and what is known of a run that began before the daemon.

#include <csignal>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"

namespace vmeventd::e2e {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

class AttachTest : public E2eTest {
 protected:
  v1::Event WaitStopped(const std::string& name) {
    return stream().Wait(name, v1::EVENT_TYPE_STOPPED);
  }
  v1::VmState StateOf(const std::string& name) { return daemon().GetVm(name).state(); }
};

TEST_F(AttachTest, VmsThatRanBeforeTheDaemon) {
  const auto first = StartEmptyGuest("vm1");
  const auto second = StartEmptyGuest("vm2");
  GuestOptions options;
  options.name = "linux";
  const auto linux_guest = StartGuest(options);
  StartDaemonAndStream();
  for (const char* name : {"vm1", "vm2", "linux"}) {
    stream().Wait(name, v1::EVENT_TYPE_STARTED);
    WaitUntilAttached(daemon(), name);
  }
  EXPECT_EQ(StateOf("linux"), v1::VM_STATE_RUNNING);

  first->manager().Execute("quit");
  EXPECT_EQ(WaitStopped("vm1").shutdown().class_(), v1::SHUTDOWN_CLASS_ADMIN);
  second->Signal(SIGKILL);
  EXPECT_EQ(WaitStopped("vm2").shutdown().class_(), v1::SHUTDOWN_CLASS_CRASH);
  linux_guest->Type("poweroff -f");
  EXPECT_EQ(WaitStopped("linux").shutdown().class_(), v1::SHUTDOWN_CLASS_USER);
}

TEST_F(AttachTest, GuestThatWentDownBeforeIsUnknownAndItsFileIsKept) {
  GuestOptions options;
  options.arguments = {"-no-shutdown"};
  const auto guest = StartGuest(options);
  guest->Type("poweroff -f");
  guest->manager().WaitEvent("STOP");
  Touch(guest->shutdown_file());
  StartDaemonAndStream();
  stream().Wait(guest->name(), v1::EVENT_TYPE_STARTED);
  EXPECT_EQ(StateOf(guest->name()), v1::VM_STATE_GUEST_DOWN);

  WaitUntilAttached(daemon(), guest->name());
  guest->manager().Execute("quit");
  const v1::Event stopped = WaitStopped(guest->name());
  EXPECT_EQ(stopped.shutdown().class_(), v1::SHUTDOWN_CLASS_UNKNOWN);
  EXPECT_EQ(stopped.shutdown().cause(), v1::SHUTDOWN_CAUSE_UNOBSERVED);
  EXPECT_TRUE(FileAtStop(guest->name()));
}

TEST_F(AttachTest, GuestThatPanickedBeforeIsACrash) {
  GuestOptions options;
  options.arguments = {"-device", "pvpanic", "-action", "panic=pause"};
  const auto guest = StartGuest(options);
  guest->Type("echo c > /proc/sysrq-trigger");
  guest->manager().WaitEvent("STOP");
  StartDaemonAndStream();
  stream().Wait(guest->name(), v1::EVENT_TYPE_STARTED);
  EXPECT_EQ(StateOf(guest->name()), v1::VM_STATE_GUEST_DOWN);

  WaitUntilAttached(daemon(), guest->name());
  guest->manager().Execute("quit");
  EXPECT_EQ(WaitStopped(guest->name()).shutdown().cause(), v1::SHUTDOWN_CAUSE_GUEST_PANIC);
}

// QEMU 7.2 may hang in its exit over a command (docs/qemu.md): without the quiet time one of some
// thirteen did here.
TEST_F(AttachTest, AVmThatIsStoppedAndEndedAtOnceDoesNotHang) {
  StartDaemonAndStream();
  for (int i = 0; i < 20; ++i) {
    GuestOptions options;
    options.name = absl::StrCat("vm", i);
    options.boot = Boot::kNothing;
    options.arguments = {"-machine", "pc"};
    const auto guest = StartGuest(options);
    WaitUntilAttached(daemon(), options.name);
    guest->manager().Execute("stop");
    guest->Signal(SIGTERM);
    EXPECT_EQ(WaitStopped(options.name).shutdown().cause(), v1::SHUTDOWN_CAUSE_HOST_SIGNAL);
  }
}

// A QEMU adopted by init ends by a signal that it handles, or by one that it does not.
class DaemonizedTest : public AttachTest, public testing::WithParamInterface<int> {};

INSTANTIATE_TEST_SUITE_P(By, DaemonizedTest, testing::Values(SIGTERM, SIGKILL));

TEST_P(DaemonizedTest, QemuIsNotOurChild) {
  StartDaemonAndStream();
  const std::string pid_file = dir() / "pid";
  ChildOptions qemu;
  qemu.arguments = QemuCommand(Boot::kNothing, "");
  qemu.arguments.insert(qemu.arguments.end(),
                        {"-daemonize", "-pidfile", pid_file, "-qmp",
                         "unix:" + watch_dir() + "/vm1.kvmd,server=on,wait=off"});
  ASSERT_EQ(RunCommand(qemu).exit_code, 0);
  const pid_t pid = std::stoi(ReadFile(pid_file));

  const v1::Event started = stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  EXPECT_EQ(started.vm().pid(), pid);
  WaitUntilAttached(daemon(), "vm1");
  kill(pid, GetParam());
  const v1::ShutdownDetail end = WaitStopped("vm1").shutdown();
  EXPECT_TRUE(end.exit_status_known());
  if (GetParam() == SIGTERM) {
    EXPECT_EQ(end.cause(), v1::SHUTDOWN_CAUSE_HOST_SIGNAL);
    EXPECT_EQ(end.exit_signal(), 0) << "it ended cleanly";
  } else {
    EXPECT_EQ(end.cause(), v1::SHUTDOWN_CAUSE_QEMU_KILLED);
    EXPECT_EQ(end.exit_signal(), SIGKILL);
  }
}

TEST_F(AttachTest, MonitorThatAnotherClientHoldsIsAttachedWhenItLeaves) {
  const auto guest = StartEmptyGuest("vm1");
  auto other = std::make_unique<QmpClient>(guest->socket_path());
  StartDaemonAndStream();
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  const v1::Vm held = daemon().GetVm("vm1");
  EXPECT_EQ(held.state(), v1::VM_STATE_UNREACHABLE);
  EXPECT_THAT(held.problems(), Contains(HasSubstr("held by another client")));

  other.reset();
  stream().Wait("vm1", v1::EVENT_TYPE_MONITOR_RESTORED);
  const v1::Vm restored = daemon().GetVm("vm1");
  EXPECT_EQ(restored.state(), v1::VM_STATE_RUNNING);
  EXPECT_THAT(restored.problems(), IsEmpty());
  WaitUntilAttached(daemon(), "vm1");
  guest->manager().Execute("quit");
  EXPECT_EQ(WaitStopped("vm1").shutdown().cause(), v1::SHUTDOWN_CAUSE_HOST_QUIT);
}

TEST_F(AttachTest, NewQemuWhileTheOldOneStillEndsIsANewRun) {
  StartDaemonAndStream();
  const auto old = StartEmptyGuest("vm1");
  const std::string old_run = stream().Wait("vm1", v1::EVENT_TYPE_STARTED).vm().run_id();
  WaitUntilAttached(daemon(), "vm1");
  old->Signal(SIGSTOP);  // it ends slowly
  const auto next = StartEmptyGuest("vm1");
  const std::string next_run = stream().Wait("vm1", v1::EVENT_TYPE_STARTED, 2).vm().run_id();
  EXPECT_NE(next_run, old_run);

  old->Signal(SIGKILL);
  const v1::Event first = stream().Wait("vm1", v1::EVENT_TYPE_STOPPED);
  EXPECT_EQ(first.vm().run_id(), old_run);
  EXPECT_EQ(first.shutdown().cause(), v1::SHUTDOWN_CAUSE_QEMU_KILLED) << first.message();
  EXPECT_EQ(daemon().GetVm("vm1").ref().run_id(), next_run);
  WaitUntilAttached(daemon(), "vm1", 2);
  next->manager().Execute("quit");
  const v1::Event second = stream().Wait("vm1", v1::EVENT_TYPE_STOPPED, 2);
  EXPECT_EQ(second.vm().run_id(), next_run);
  EXPECT_EQ(second.shutdown().cause(), v1::SHUTDOWN_CAUSE_HOST_QUIT) << second.message();
}

}  // namespace
}  // namespace vmeventd::e2e
