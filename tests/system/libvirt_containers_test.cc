// The containers of a real libvirtd (its LXC driver).

#include <csignal>
#include <functional>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "tests/support/wait.h"
#include "tests/system/libvirt_test.h"
#include "tests/system/test_names.h"
#include "tests/system/vm_end.h"

namespace vmeventd::e2e {
namespace {

using testing::Contains;

class LibvirtContainerTest : public LibvirtTest {
 protected:
  void SetUp() override {
    LibvirtTest::SetUp();
    if (IsSkipped()) return;
    if (!HasContainerDriver()) GTEST_SKIP() << "needs libvirt's driver of containers";
    DropLibvirtd();
    containers_ = std::make_unique<Libvirtd>(dir() / "containers", Libvirtd::Kind::kContainers);
    const std::string error = containers().TryDefineAndStartContainer("probe");
    if (!error.empty()) GTEST_SKIP() << "libvirt cannot start a container here: " << error;
    containers().Virsh({"destroy", "probe"});
  }
  void TearDown() override {
    containers_.reset();
    LibvirtTest::TearDown();
  }
  Libvirtd& containers() { return *containers_; }

  // Starts vm1 and follows it.
  v1::Event Begin() {
    EXPECT_EQ(containers().TryDefineAndStartContainer("vm1"), "");
    Follow({containers().uri()});
    v1::Event started = stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
    EXPECT_EQ(started.vm().source(), containers().source());
    EXPECT_EQ(started.vm().pid(), containers().Pid("vm1"));
    return started;
  }
  void ExpectNoQmp() {
    for (const v1::Event& event : stream().EventsOf("vm1")) EXPECT_EQ(event.qmp_event(), "");
  }

 private:
  std::unique_ptr<Libvirtd> containers_;
};

struct ContainerEnding {
  std::string name;
  VmEnd end;
  std::string evidence;  // text that the evidence must contain
  std::function<void(Libvirtd&)> act;
};

std::vector<ContainerEnding> ContainerEndings() {
  const auto type = [](const std::string& line) {
    return [line](Libvirtd& libvirtd) { libvirtd.Type("vm1", line); };
  };
  const auto virsh = [](const std::vector<std::string>& arguments) {
    return [arguments](Libvirtd& libvirtd) { libvirtd.Virsh(arguments); };
  };
  const auto kill_controller = [](int signal) {
    return [signal](Libvirtd& libvirtd) { kill(libvirtd.Pid("vm1"), signal); };
  };
  const std::string orderly = "libvirt: stopped, shutdown";
  const std::string failed = "libvirt: stopped, failed";
  return {
      // The driver does not report who ended these.
      {"InitExits", kUnobserved, orderly, type("exit 0")},
      {"InitFails", kUnobserved, orderly, type("exit 3")},
      {"Poweroff", kUnobserved, orderly, type("busybox poweroff -f")},
      {"VirshShutdown", kUnobserved, orderly, virsh({"shutdown", "vm1", "--mode", "signal"})},
      {"VirshDestroy", kHostDestroy, "libvirt: stopped, destroyed", virsh({"destroy", "vm1"})},
      {"SuspendThenDestroy", kHostDestroy, "libvirt: stopped, destroyed",
       [](Libvirtd& libvirtd) {
         libvirtd.Virsh({"suspend", "vm1"});
         libvirtd.Virsh({"destroy", "vm1"});
       }},
      {"ControllerIsKilled", kUnobserved, failed, kill_controller(SIGKILL)},
      {"ControllerIsTerminated", kHostSignal, failed, kill_controller(SIGTERM)},
      {"ControllerCrashes", kQemuCrashed, failed, kill_controller(SIGSEGV)},
  };
}

class LibvirtContainerEndingTest : public LibvirtContainerTest,
                                   public testing::WithParamInterface<ContainerEnding> {};

INSTANTIATE_TEST_SUITE_P(Of, LibvirtContainerEndingTest, testing::ValuesIn(ContainerEndings()),
                         kByName);

TEST_P(LibvirtContainerEndingTest, IsClassifiedAndPublishedOnce) {
  const ContainerEnding& ending = GetParam();
  Begin();
  ending.act(containers());
  const v1::Event stopped = ExpectStopped(ending.end);
  EXPECT_THAT(EvidenceOf(stopped), Contains(ending.evidence)) << stopped.message();
  ExpectOneStopped();
  ExpectNoQmp();
}

// libvirt gives it another libvirt_lxc, and so another id.
TEST_F(LibvirtContainerTest, ARebootIsNoEnd) {
  const v1::Event started = Begin();
  const pid_t before = containers().Pid("vm1");
  containers().Type("vm1", "busybox reboot -f");
  stream().Wait("vm1", v1::EVENT_TYPE_RESET);
  const v1::Vm vm = daemon().GetVm("vm1");
  EXPECT_EQ(vm.state(), v1::VM_STATE_RUNNING);
  EXPECT_NE(vm.ref().pid(), before);
  EXPECT_EQ(vm.ref().pid(), containers().Pid("vm1"));
  containers().Virsh({"destroy", "vm1"});
  EXPECT_EQ(ExpectStopped(kHostDestroy).vm().run_id(), started.vm().run_id());
  ExpectOneStopped();
}

TEST_F(LibvirtContainerTest, ARunningContainerIsFoundAndFollowedAfterRestarts) {
  ASSERT_EQ(containers().TryDefineAndStartContainer("vm1"), "");
  Follow({containers().uri()});
  const v1::Event started = stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  EXPECT_EQ(started.vm().pid(), containers().Pid("vm1"));
  containers().Virsh({"suspend", "vm1"});
  stream().Wait("vm1", v1::EVENT_TYPE_PAUSED);
  StopDaemon();
  containers().Virsh({"resume", "vm1"});
  Follow({containers().uri()});
  stream().Wait("vm1", v1::EVENT_TYPE_RESUMED);
  containers().Stop(SIGKILL);
  stream().Wait("vm1", v1::EVENT_TYPE_MONITOR_LOST);
  containers().Start();
  stream().Wait("vm1", v1::EVENT_TYPE_MONITOR_RESTORED);
  containers().Virsh({"destroy", "vm1"});
  const v1::Event stopped = WaitStopped();
  EXPECT_EQ(stopped.vm().run_id(), started.vm().run_id());
  EXPECT_EQ(stopped.shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_ADMIN) << stopped.message();
  ExpectOneStopped();
}

// The driver of QEMUs and that of containers are asked by URIs of their own.
TEST_F(LibvirtContainerTest, QemusAndContainersOfOneLibvirtAreFollowed) {
  const std::string qemus = "qemu+unix:///system?socket=" + containers().socket();
  // Starts it before it is followed: that may take more than one attempt.
  ASSERT_EQ(containers().TryDefineAndStartContainer("vm1"), "");
  Follow({containers().uri(), qemus});
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  WaitUntil("both are connected", [&] {
    const v1::GetServerInfoResponse info = daemon().GetServerInfo();
    return info.libvirt_connections_size() == 2 && info.libvirt_connections(0).connected() &&
           info.libvirt_connections(1).connected();
  });
  containers().Virsh({"destroy", "vm1"});
  WaitStopped();
  ExpectOneStopped();
}

}  // namespace
}  // namespace vmeventd::e2e
