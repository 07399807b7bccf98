// A daemon that stops leaves its monitors and processes to the service manager, and the next one
// continues as if nothing had happened.

#include <csignal>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "gmock/gmock.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/fake_service_manager.h"
#include "tests/support/guest.h"
#include "tests/support/machine_probe.h"
#include "tests/support/programs.h"
#include "tests/support/wait.h"
#include "tests/system/e2e_test.h"
#include "tests/system/vm_end.h"

namespace vmeventd::e2e {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

constexpr char kIoError[] =
    "{\"timestamp\": {\"seconds\": 1, \"microseconds\": 0}, \"event\": \"BLOCK_IO_ERROR\", "
    "\"data\": {\"device\": \"disk0\", \"action\": \"report\"}}\r\n";

class HandoverTest : public E2eTest {
 protected:
  void Begin() {
    DaemonOptions options = Options();
    std::vector<UniqueFd> stored;
    options.wrapper = manager_.Wrapper(&stored);
    StartDaemonAndStream(options);
  }
  // Returns its monitor, which the daemon is attached to.
  int FollowAsVm1(FakeQemu* qemu) {
    const int monitor = qemu->AddMonitor(watch_dir() + "/vm1.kvmd");
    WaitFollowed("vm1");
    return monitor;
  }
  void End() {
    EndDaemon(SIGTERM);
    WaitUntil("the manager has taken what it was sent last",
              [&] { return manager_.stored() == 1; });
  }
  // The STOPPED of a VM about which the previous daemon has published everything.
  v1::Event WaitKnownEnd(const std::string& name) {
    v1::Event stopped = WaitStopped(name);
    EXPECT_THAT(EvidenceOf(stopped), Not(Contains(HasSubstr("vmeventd restarted"))))
        << stopped.message();
    ExpectNoGap(name);
    return stopped;
  }
  void ExpectNoGap(const std::string& name) {
    EXPECT_THAT(TypesOf(stream().EventsOf(name)), Not(HasSubstr("GAP")));
  }

  FakeServiceManager manager_{dir() / "notify"};
};

TEST_F(HandoverTest, EndsDuringAHandoverAreClassified) {
  Begin();
  const auto user = StartGuest();
  const auto powerdown = StartGuest({.name = "vm4"});
  const auto quit = StartEmptyGuest("vm2");
  const auto killed = StartEmptyGuest("vm3");
  for (const char* name : {"vm1", "vm2", "vm3", "vm4"}) WaitFollowed(name);
  End();
  user->PowerOff();
  powerdown->manager().Execute("system_powerdown");
  quit->manager().Execute("quit");
  killed->Signal(SIGKILL);
  for (Guest* guest : {user.get(), quit.get(), killed.get(), powerdown.get()}) guest->WaitExit();
  Begin();
  daemon().WaitLog("resuming 4 VMs");
  EXPECT_EQ(WaitKnownEnd("vm1").shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_USER);
  EXPECT_TRUE(FileAtStop("vm1"));
  EXPECT_EQ(WaitKnownEnd("vm2").shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_ADMIN);
  const v1::Event kill = WaitKnownEnd("vm3");
  EXPECT_EQ(kill.shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_UNKNOWN) << kill.message();
  if (WhyNoExitStatus().empty()) {
    EXPECT_THAT(EvidenceOf(kill),
                Contains(HasSubstr("vmeventd was being restarted when it was sent")));
  }
  EXPECT_EQ(WaitKnownEnd("vm4").shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_ADMIN);
  WaitUntil("what was handed over is stored no longer",
            [&] { return manager_.Count("FDSTOREREMOVE=1\nFDNAME=vmeventd-handover") == 1; });
}

// It hands nothing over to a service manager, and gets nothing from one: it connects again, and so
// does the service after it.
TEST_F(HandoverTest, ADaemonStartedByHandReconnectsToMonitors) {
  Begin();
  FakeQemu qemu(TestProgramPath("fake_qemu"));
  const int monitor = FollowAsVm1(&qemu);
  End();
  EXPECT_TRUE(qemu.HasClient(monitor));
  manager_.Drop();
  WaitUntil("QEMU has no client", [&] { return !qemu.HasClient(monitor); });
  const auto connects = [&](const std::function<void()>& begin) {
    const size_t asked = qemu.Commands(monitor).size();
    begin();
    WaitUntil("QEMU is asked", [&] { return qemu.Commands(monitor).size() > asked; });
  };
  connects([&] { StartDaemon(Options()); });
  EndDaemon(SIGTERM);
  EXPECT_EQ(manager_.stored(), 0u);
  connects([&] { Begin(); });
  qemu.Send(monitor, kIoError);
  stream().Wait("vm1", v1::EVENT_TYPE_IO_ERROR);
  EXPECT_EQ(TypesOf(stream().EventsOf("vm1")), "STARTED IO_ERROR");
}

TEST_F(HandoverTest, AFailedStartLeavesTheMonitorsToTheNextStart) {
  Begin();
  FakeQemu qemu(TestProgramPath("fake_qemu"));
  const int monitor = FollowAsVm1(&qemu);
  const std::vector<std::string> asked = qemu.Commands(monitor);
  End();
  {
    DaemonOptions options = Options();
    std::vector<UniqueFd> stored;
    options.wrapper = manager_.Wrapper(&stored);
    const std::string state = dir() / "state";
    std::filesystem::rename(state, state + ".away");
    std::ofstream(state) << "no directory";
    Daemon failing(options, /*wait=*/false);
    EXPECT_NE(failing.WaitExit(), 0);
    std::filesystem::remove(state);
    std::filesystem::rename(state + ".away", state);
  }
  ASSERT_EQ(manager_.stored(), 1u);
  Begin();
  daemon().WaitLog("resuming 1 VMs");
  // A STOP would be followed by a question of its own.
  qemu.Send(monitor, kIoError);
  stream().Wait("vm1", v1::EVENT_TYPE_IO_ERROR);
  EXPECT_EQ(qemu.Commands(monitor), asked);
  EXPECT_EQ(TypesOf(stream().EventsOf("vm1")), "STARTED IO_ERROR");
}

}  // namespace
}  // namespace vmeventd::e2e
