// When a monitor is attached, and what is known of a run that began before the daemon.

#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "tests/support/problem_texts.h"
#include "tests/support/qemu_command.h"
#include "tests/support/qmp_client.h"
#include "tests/support/wait.h"
#include "tests/system/daemon_waits.h"
#include "tests/system/e2e_test.h"
#include "tests/system/vm_end.h"
#include "tests/system/vmevents_command.h"

namespace vmeventd::e2e {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;
using testing::UnorderedElementsAre;

class AttachTest : public E2eTest {
 protected:
  v1::VmState StateOf(const std::string& name) { return daemon().GetVm(name).state(); }
};

TEST_F(AttachTest, VmsThatRanBeforeTheDaemonAreFollowed) {
  const auto first = StartEmptyGuest("vm1");
  const auto second = StartEmptyGuest("vm2");
  const auto booted = StartGuest({.name = "vm3"});
  StartDaemonAndStream();
  for (const char* name : {"vm1", "vm2", "vm3"}) WaitFollowed(name);
  EXPECT_EQ(StateOf("vm3"), v1::VM_STATE_RUNNING);

  first->manager().Execute("quit");
  EXPECT_EQ(WaitStopped("vm1").shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_ADMIN);
  second->Signal(SIGSEGV);
  EXPECT_EQ(WaitStopped("vm2").shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_CRASH);
  booted->PowerOff();
  EXPECT_EQ(WaitStopped("vm3").shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_USER);
}

TEST_F(AttachTest, LabelsOfQemusCommandLineOverrideTheDaemonsRules) {
  StartDaemonAndStream(Options({"--label", "vm*:app=web,tier=front", "--label", "vm1:tier=back"}));
  const auto guest = StartGuest(
      {.arguments = {"-fw_cfg", "name=opt/vmeventd/labels,string=project=demo,,app=own"}});
  EXPECT_THAT(
      WaitFollowed("vm1").vm().labels(),
      UnorderedElementsAre(Pair("app", "own"), Pair("project", "demo"), Pair("tier", "front")));
}

TEST_F(AttachTest, APauseHasQemusReason) {
  StartDaemonAndStream();
  const auto wait_for = [&](const std::string& vm, const std::string& reason) {
    WaitUntil(absl::StrCat(vm, " is paused for ", reason),
              [&] { return daemon().GetVm(vm).pause_reason() == reason; });
  };
  const auto held = StartGuest({.name = "held", .arguments = {"-S"}, .wait_until_ready = false});
  const auto waits =
      StartGuest({.name = "waits", .arguments = {"-incoming", "defer"}, .wait_until_ready = false});
  EXPECT_EQ(stream().Wait("held", v1::EVENT_TYPE_STARTED).pause_reason(), "prelaunch");
  EXPECT_EQ(stream().Wait("waits", v1::EVENT_TYPE_STARTED).pause_reason(), "inmigrate");
  wait_for("held", "prelaunch");
  wait_for("waits", "inmigrate");
  held->manager().Execute("cont");
  EXPECT_EQ(stream().Wait("held", v1::EVENT_TYPE_RESUMED).pause_reason(), "");
  held->manager().Execute("stop");
  wait_for("held", "paused");
  held->manager().Execute("quit");
  EXPECT_FALSE(ExpectStopped(kHostQuit, "held").shutdown().never_ran());
  waits->Signal(SIGTERM);
  EXPECT_TRUE(ExpectStopped(kHostSignal, "waits").shutdown().never_ran());
}

TEST_F(AttachTest, AGuestThatWentDownBeforeTheStartIsUnknownAndItsFileIsKept) {
  const auto guest = StartGuest({.arguments = {"-no-shutdown"}});
  guest->PowerOff();
  guest->manager().WaitEvent("STOP");
  Touch(guest->shutdown_file());
  StartDaemonAndStream();
  stream().Wait(guest->name(), v1::EVENT_TYPE_STARTED);
  EXPECT_EQ(StateOf(guest->name()), v1::VM_STATE_GUEST_DOWN);

  WaitUntilAttached(daemon(), guest->name());
  guest->manager().Execute("quit");
  ExpectStopped(kUnobserved);
  EXPECT_TRUE(FileAtStop(guest->name()));
}

// A QEMU adopted by init ends by a signal that it handles, or by one that it does not.
class DaemonizedTest : public AttachTest, public testing::WithParamInterface<int> {};

INSTANTIATE_TEST_SUITE_P(By, DaemonizedTest, testing::Values(SIGTERM, SIGKILL));

TEST_P(DaemonizedTest, ADaemonizedQemuIsFollowedToItsEnd) {
  StartDaemonAndStream();
  const std::string pid_file = dir() / "pid";
  std::vector<std::string> qemu = QemuCommand(Boot::kNothing, "");
  qemu.insert(qemu.end(), {"-daemonize", "-pidfile", pid_file, "-qmp",
                           "unix:" + watch_dir() + "/vm1.kvmd,server=on,wait=off"});
  ASSERT_EQ(RunCommand({.arguments = qemu}).exit_code, 0);
  const pid_t pid = std::stoi(ReadFile(pid_file));

  EXPECT_EQ(WaitFollowed("vm1").vm().pid(), pid);
  kill(pid, GetParam());
  const bool ended_cleanly = GetParam() == SIGTERM;
  const v1::Event stopped = ExpectStopped(ended_cleanly ? kHostSignal : kUnobserved);
  EXPECT_EQ(stopped.shutdown().has_exit_code(), ended_cleanly);
  EXPECT_EQ(stopped.shutdown().exit_signal().number(), ended_cleanly ? 0 : SIGKILL);
}

// QEMU itself takes no longer path than an address holds: it binds a relative one, or, in a pod,
// that of a mount.
TEST_F(AttachTest, PathsMayBeLongerThanAUnixAddress) {
  if (geteuid() != 0) GTEST_SKIP() << "mounts";
  const std::string monitors = dir().MakeDirectory(std::string(120, 'm'));
  const std::string mount = dir().MakeDirectory("mount");
  const std::string address = "unix:" + (dir() / (std::string(120, 's') + "/vmeventd.sock"));
  const auto start = [](std::vector<std::string> command, const std::string& path) {
    const std::vector<std::string> qemu = QemuCommand(Boot::kNothing, "");
    command.insert(command.end(), qemu.begin(), qemu.end());
    command.insert(command.end(), {"-qmp", "unix:" + path + ",server=on,wait=off"});
    return std::make_unique<ChildProcess>(ChildOptions{.arguments = command});
  };
  const auto relative = start({"env", "-C", monitors}, "relative.kvmd");
  const auto mounted = start({"unshare", "--mount", "sh", "-euc",
                              "mount --bind \"$0\" \"$1\"; shift; exec \"$@\"", monitors, mount},
                             mount + "/mounted.kvmd");
  StartDaemonAndStream(Options({"--watch", monitors + ":*.kvmd", "--listen", address}));
  EXPECT_EQ(WaitFollowed("relative").vm().pid(), relative->pid());
  EXPECT_EQ(WaitFollowed("mounted").vm().pid(), mounted->pid());
  EXPECT_EQ(daemon().GetVm("mounted").monitor_path(), monitors + "/mounted.kvmd");

  const auto run = [](const std::string& server, const std::vector<std::string>& arguments) {
    return RunCommand({.arguments = VmeventsCommand(server, arguments)});
  };
  const CommandResult listed = run(address, {"-o", "name", "vms"});
  EXPECT_EQ(listed.exit_code, 0) << listed.error;
  EXPECT_EQ(listed.output, "mounted\nrelative\n");
  for (const std::string missing : {"-none", "/none"}) {
    const CommandResult failed = run(address + missing, {"vms"});
    EXPECT_EQ(failed.exit_code, 4);
    EXPECT_THAT(failed.error, HasSubstr("there is no socket " + address.substr(5) + missing));
  }

  relative->Signal(SIGKILL);
  ExpectStopped(kUnobserved, "relative");
  mounted->Signal(SIGTERM);
  ExpectStopped(kHostSignal, "mounted");
}

TEST_F(AttachTest, AMonitorHeldByAnotherClientIsAttachedWhenThatLeaves) {
  const auto guest = StartEmptyGuest("vm1");
  auto other = std::make_unique<QmpClient>(guest->socket_path());
  StartDaemonAndStream();
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  const v1::Vm held = daemon().GetVm("vm1");
  EXPECT_EQ(held.state(), v1::VM_STATE_UNREACHABLE);
  EXPECT_THAT(ProblemTexts(held.problems()), Contains(HasSubstr("held by another client")));

  other.reset();
  stream().Wait("vm1", v1::EVENT_TYPE_MONITOR_RESTORED);
  const v1::Vm restored = daemon().GetVm("vm1");
  EXPECT_EQ(restored.state(), v1::VM_STATE_RUNNING);
  EXPECT_THAT(restored.problems(), IsEmpty());
  WaitUntilAttached(daemon(), "vm1");
  guest->manager().Execute("quit");
  ExpectStopped(kHostQuit);
}

}  // namespace
}  // namespace vmeventd::e2e
