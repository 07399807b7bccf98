// Domains that move from one real libvirtd to another, or come from a file, and those that do not
// arrive.

#include <csignal>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/match.h"
#include "tests/support/child_process.h"
#include "tests/support/libvirt/libvirtd.h"
#include "tests/support/wait.h"
#include "tests/system/libvirt_test.h"
#include "tests/system/vm_end.h"

namespace vmeventd::e2e {
namespace {

TEST_F(LibvirtTest, AMigrationEndsTheSourceAndBeginsTheTarget) {
  Libvirtd target(dir() / "b");
  Follow({libvirtd().uri(), target.uri()});
  libvirtd().Create({});
  const v1::Event started = stream().Wait("vm1", v1::EVENT_TYPE_STARTED);
  libvirtd().Virsh({"migrate", "--live", "vm1", target.uri(), "--migrateuri", "tcp://127.0.0.1",
                    "--listen-address", "127.0.0.1"});
  EXPECT_EQ(ExpectStopped(kMigratedAway).vm().run_id(), started.vm().run_id());
  const v1::Event arrived = stream().Wait("vm1", v1::EVENT_TYPE_STARTED, 2);
  EXPECT_EQ(arrived.vm().source(), target.source());
  EXPECT_EQ(arrived.vm().uuid(), started.vm().uuid());
  WaitUntil("it runs there", [&] {
    const v1::Vm vm = daemon().GetVm("vm1");
    return vm.ref().source() == target.source() && vm.state() == v1::VM_STATE_RUNNING;
  });
  target.Virsh({"destroy", "vm1"});
  ExpectStopped(kHostDestroy, "vm1", 2);
}

// A migration that is under way for as long as the test wants.
class LibvirtIncomingTest : public LibvirtTest {
 protected:
  void SetUp() override {
    LibvirtTest::SetUp();
    if (IsSkipped()) return;
    target_ = std::make_unique<Libvirtd>(dir() / "b");
    libvirtd().Create(LinuxGuest());
    libvirtd().Virsh({"migrate-setspeed", "vm1", "1"});
  }
  void TearDown() override {
    migration_.reset();
    target_.reset();
    LibvirtTest::TearDown();
  }

  void FollowBoth() { Follow({libvirtd().uri(), target().uri()}); }
  void BeginMigration() {
    ChildOptions child;
    child.arguments = {
        "virsh",        "-c",           libvirtd().uri(),  "migrate",          "--live",   "vm1",
        target().uri(), "--migrateuri", "tcp://127.0.0.1", "--listen-address", "127.0.0.1"};
    child.error_file = dir() / "migrate";
    migration_ = std::make_unique<ChildProcess>(child);
    WaitUntil("pages are on their way", [this] {
      const std::string job = libvirtd().TryVirsh({"domjobinfo", "vm1"}).output;
      return absl::StrContains(job, "Memory remaining") &&
             absl::StrContains(target().TryVirsh({"domstate", "vm1", "--reason"}).output,
                               "migrating");
    });
  }
  v1::Event WaitStoppedAt(const Libvirtd& libvirtd) {
    return stream().Wait("the end at " + libvirtd.source(), [&](const v1::Event& event) {
      return event.type() == v1::EVENT_TYPE_STOPPED && event.vm().source() == libvirtd.source();
    });
  }
  void ExpectMigrationFailed(const Libvirtd& libvirtd) {
    ExpectEnd(WaitStoppedAt(libvirtd), kMigrationFailed);
  }
  // The VM runs on where it was.
  void ExpectSourceRuns() {
    EXPECT_EQ(daemon().ListVms(false).size(), 1);
    EXPECT_EQ(daemon().GetVm("vm1").ref().source(), libvirtd().source());
    EXPECT_EQ(daemon().GetVm("vm1").state(), v1::VM_STATE_RUNNING);
    libvirtd().Virsh({"destroy", "vm1"});
    ExpectEnd(WaitStoppedAt(libvirtd()), kHostDestroy);
  }
  Libvirtd& target() { return *target_; }

 private:
  std::unique_ptr<Libvirtd> target_;
  std::unique_ptr<ChildProcess> migration_;
};

TEST_F(LibvirtIncomingTest, AnAbortedMigrationIsNoCrashOfTheTarget) {
  FollowBoth();
  BeginMigration();
  libvirtd().Virsh({"domjobabort", "vm1"});
  ExpectMigrationFailed(target());
  ExpectSourceRuns();
}

TEST_F(LibvirtIncomingTest, AnAbortedMigrationIsNoCrashOfATargetFoundDuringIt) {
  BeginMigration();
  FollowBoth();
  stream().Wait("vm1", v1::EVENT_TYPE_STARTED, 2);
  libvirtd().Virsh({"domjobabort", "vm1"});
  ExpectMigrationFailed(target());
  ExpectSourceRuns();
}

TEST_F(LibvirtIncomingTest, AKilledSourceEndsUnobservedAndItsTargetsMigrationFails) {
  FollowBoth();
  BeginMigration();
  kill(libvirtd().Pid("vm1"), SIGKILL);
  ExpectEnd(WaitStoppedAt(libvirtd()), kUnobserved);
  ExpectMigrationFailed(target());
}

TEST_F(LibvirtIncomingTest, AKilledTargetNeverRan) {
  FollowBoth();
  BeginMigration();
  kill(target().Pid("vm1"), SIGKILL);
  ExpectEnd(WaitStoppedAt(target()), kNeverRan);
  ExpectSourceRuns();
}

TEST_F(LibvirtIncomingTest, AKillOfTheSourcesLibvirtIsNoCrashOfTheTarget) {
  FollowBoth();
  BeginMigration();
  libvirtd().Stop(SIGKILL);
  const v1::Event stopped = WaitStoppedAt(target());
  EXPECT_NE(stopped.shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_CRASH) << stopped.message();
  EXPECT_NE(stopped.shutdown().shutdown_class(), v1::SHUTDOWN_CLASS_USER) << stopped.message();
  libvirtd().Start();
  WaitUntil("the source is reached again",
            [&] { return daemon().GetVm("vm1").state() == v1::VM_STATE_RUNNING; });
}

// libvirt reports no start of it.
TEST_F(LibvirtIncomingTest, ARestoreOfABrokenFileBeginsNoRun) {
  const std::string file = dir() / "saved";
  Follow();
  libvirtd().Virsh({"save", "vm1", file});
  WaitStopped();
  std::filesystem::resize_file(file, std::filesystem::file_size(file) / 2);
  EXPECT_NE(libvirtd().TryVirsh({"restore", file}).exit_code, 0);
  libvirtd().Create({.name = "other"});
  stream().Wait("other", v1::EVENT_TYPE_STARTED);
  ExpectOneStopped();
}

}  // namespace
}  // namespace vmeventd::e2e
