// libvirt's driver of containers: it reports no events of a QEMU, and a container's id is the
// number of its libvirt_lxc.

#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/fake_libvirt.h"
#include "tests/watcher/libvirt/libvirt_source_test.h"
#include "tests/watcher/libvirt/sleeping_process.h"
#include "tests/watcher/libvirt/test_domains.h"
#include "tests/watcher/runs/child.h"
#include "watcher/libvirt/libvirt_run.h"
#include "watcher/libvirt/libvirt_source.h"

namespace vmeventd {
namespace {

class LibvirtContainersTest : public LibvirtSourceTest {
 protected:
  LibvirtContainersTest() {
    options_.process_tracking = true;
    options_.sources.libvirts = {
        ParseLibvirtUri("lxc+unix:///system?socket=" + directory_.Path("libvirt-sock")).value()};
    StartController();
  }
  // Starts its libvirt_lxc, which replaces the previous one; that has ended.
  void StartController(const std::string& name = "web1") {
    controller_.reset();
    controller_ = StartSleeping("libvirt_lxc", "--name", name);
  }
  // Nobody has reaped it, so its exit status can be read at once.
  void KillController() const {
    kill(controller_->pid(), SIGKILL);
    controller_->AwaitEnd();
  }
  DomainName Container() const { return {kDomain.name, kDomain.uuid, controller_->pid()}; }

  std::unique_ptr<Child> controller_;
};

TEST_F(LibvirtContainersTest, TheProcessOfAnotherContainerIsNotTaken) {
  StartController("web2");
  StartConnected();
  StartDomain(Container());
  EXPECT_EQ(sink_.Latest("web1")->ref().pid(), 0);
}

// virtlxcd reports the end of the process first, and then that it was its own doing.
TEST_F(LibvirtContainersTest, AFailureOrAShutdownFollowedByADestroyIsADestroy) {
  StartConnected();
  clock_.Stop();  // either waits for a second
  int stops = 0;
  for (const ManagerEnd end : {ManagerEnd::kFailed, ManagerEnd::kShutdown}) {
    StartController();
    StartDomain(Container());
    const DomainName container = Container();
    libvirt_->StoppedWithId(container, end, "stopped, at first");
    KillController();
    Step();
    libvirt_->Stopped(container, ManagerEnd::kDestroyed, "stopped, destroyed");
    ASSERT_TRUE(UntilCount(EventType::kStopped, ++stops));
    EXPECT_EQ(LastStopped().shutdown().cause(), ShutdownCause::kHostDestroy)
        << LastStopped().message();
  }
}

TEST_F(LibvirtContainersTest, AFailureWithoutADestroyIsJudgedByTheExitStatus) {
  StartConnected();
  StartDomain(Container());
  const DomainName container = Container();
  clock_.Stop();
  KillController();
  libvirt_->StoppedWithId(container, ManagerEnd::kFailed, "stopped, failed");
  Step();
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
  clock_.Advance(LibvirtRun::kDestroyWait);
  ASSERT_TRUE(UntilCount(EventType::kStopped));
  EXPECT_EQ(LastStopped().shutdown().rule(), "killed-unseen") << LastStopped().message();
}

TEST_F(LibvirtContainersTest, ARebootIsNoEnd) {
  StartConnected();
  StartDomain(Container());
  const std::string run_id(sink_.Latest("web1")->ref().run_id());
  StartController();
  Step();
  libvirt_->Qmp(Container(), "RESET");
  ASSERT_TRUE(UntilCount(EventType::kReset));
  EXPECT_EQ(sink_.Last(EventType::kReset)->update.event->qmp_event(), "");
  EXPECT_EQ(sink_.Latest("web1")->ref().pid(), controller_->pid());
  EXPECT_EQ(sink_.Latest("web1")->ref().run_id(), run_id);
  // The saved state leads to the next process.
  libvirt_->SetActive({{Container(), "running"}});
  RestartConnected();
  const DomainName container = Container();
  controller_.reset();
  libvirt_->Stopped(container, ManagerEnd::kDestroyed, "stopped, destroyed");
  ExpectEnd(ShutdownCause::kHostDestroy);
  EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
}

// libvirt may have ended it, for whatever reason.
TEST_F(LibvirtContainersTest, TheExitStatusOfAContainerThatEndedUnwatchedIsNoEvidence) {
  StartConnected();
  StartDomain(Container());
  watcher_->PublishRest();
  previous_.handed = watcher_->HandOver().value().runs;
  ASSERT_EQ(previous_.handed.size(), 1u);
  kill(controller_->pid(), SIGTERM);
  controller_->AwaitEnd();
  controller_->Reap();
  libvirt_->SetActive({});
  Restart();
  ASSERT_TRUE(UntilCount(EventType::kStopped));
  EXPECT_EQ(watcher_->counters().handovers, 1u);
  EXPECT_EQ(LastStopped().shutdown().shutdown_class(), ShutdownClass::kUnknown);
}

// The kernel gives the next life a smaller pid.
TEST_F(LibvirtContainersTest, ALaterLifeMayHaveASmallerId) {
  DomainName before = Container();
  before.id += 1'000'000;
  libvirt_->AroundNextList(
      [&] {
        libvirt_->Qmp(before, "STOP");
        libvirt_->StoppedWithId(before, ManagerEnd::kDestroyed, "stopped, destroyed");
      },
      nullptr);
  libvirt_->SetActive({{Container(), "running"}});
  StartConnected();
  ASSERT_TRUE(UntilInTime([&] {
    const v1::Vm* const latest = sink_.Latest("web1");
    return latest != nullptr && latest->ref().pid() == controller_->pid();
  }));
  EXPECT_EQ(sink_.Latest("web1")->state(), VmState::kRunning);
}

}  // namespace
}  // namespace vmeventd
