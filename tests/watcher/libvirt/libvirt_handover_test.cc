// The process of a domain that the daemon before this one has left to the next one.

#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_libvirt.h"
#include "tests/watcher/libvirt/libvirt_kept_end_test.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/run_keeper.h"

namespace vmeventd {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class ProcessKeeper : public RunKeeper {
 public:
  std::unique_ptr<ReadNotes::Stream> Keep(const std::string& run_id,
                                          const Descriptors& descriptors) override {
    EXPECT_LT(descriptors.connection, 0);
    EXPECT_TRUE(runs.emplace(run_id, dup(descriptors.process)).second);
    return nullptr;
  }
  void Forget(const std::string& run_id) override {
    if (!died) {
      EXPECT_EQ(runs.erase(run_id), 1u);
    }
  }
  void EndTurn(const SinkProgress& /*progress*/) override {}

  std::map<std::string, UniqueFd> runs;
  bool died = false;
};

// Whether a daemon stopped, or died.
class LibvirtHandoverTest : public LibvirtKeptEndTest, public testing::WithParamInterface<bool> {
 protected:
  LibvirtHandoverTest() { options_.keeper = keeper_; }

  bool dies() const { return GetParam(); }
  void Stop() {
    if (!dies()) {
      handed_ = watcher_->HandOver();
    } else {
      keeper_->died = true;
      for (auto& [run_id, process] : keeper_->runs) {
        handed_.push_back({.run_id = run_id, .after_crash = true, .process = std::move(process)});
      }
    }
    watcher_.reset();
    options_.keeper = keeper_ = std::make_shared<ProcessKeeper>();
  }
  void FollowAndHandOver() {
    StartWithDomain();
    ASSERT_TRUE(Until([&] { return sink_.Latest("web1")->state == VmState::kRunning; }));
    Stop();
    ASSERT_THAT(handed_, SizeIs(1));
    EXPECT_FALSE(handed_[0].connection.valid());
  }
  void GoOn() {
    options_.handed_runs = std::make_shared<std::vector<HandedRun>>(std::move(handed_));
    Restart();
  }
  void EndByAndGoOn(int signal) {
    kill(process_->pid(), signal);
    process_->AwaitEnd();
    process_->Reap();
    std::filesystem::remove(directory_.Path("qemu/web1.pid"));
    libvirt_->SetActive({});
    GoOn();
  }
  // Of a process that was reaped.
  bool HasExitStatus() const { return watcher_->exit_status_source() == "pidfd"; }
  void ExpectHandedOver() {
    EXPECT_EQ(watcher_->counters().handovers, 1u);
    EXPECT_EQ(watcher_->counters().handovers_refused, 0u);
    EXPECT_EQ(watcher_->counters().handovers_incomplete, 0u);
  }

  std::shared_ptr<ProcessKeeper> keeper_ = std::make_shared<ProcessKeeper>();
  std::vector<HandedRun> handed_;
};

INSTANTIATE_TEST_SUITE_P(Daemon, LibvirtHandoverTest, testing::Bool(),
                         [](const testing::TestParamInfo<bool>& dies) {
                           return std::string(dies.param ? "Dies" : "Stops");
                         });

TEST_P(LibvirtHandoverTest, ADomainGoesOn) {
  FollowAndHandOver();
  GoOn();
  ASSERT_TRUE(UntilConnected());
  Step();
  ExpectHandedOver();
  EXPECT_EQ(sink_.Latest("web1")->state, VmState::kRunning);
  EXPECT_EQ(sink_.Count(EventType::kGap), 0);
  EXPECT_THAT(keeper_->runs, SizeIs(1));
  libvirt_->Qmp(kDomain, "SHUTDOWN", kGuestShutdown);
  process_.reset();
  libvirt_->SetActive({});
  ReportShutdown();
  ExpectStopped(ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
  EXPECT_THAT(keeper_->runs, IsEmpty());
}

TEST_P(LibvirtHandoverTest, ACrashOfATransientDomainIsOne) {
  FollowAndHandOver();
  EndByAndGoOn(SIGSEGV);
  ASSERT_TRUE(UntilCount(EventType::kStopped));
  ExpectHandedOver();
  EXPECT_THAT(LastEvidence(), Contains("libvirt has kept nothing of its end"));
  if (HasExitStatus()) ExpectStopped(ShutdownClass::kCrash, ShutdownCause::kQemuCrashed);
}

TEST_P(LibvirtHandoverTest, WhoKilledATransientDomainIsNotKnown) {
  FollowAndHandOver();
  EndByAndGoOn(SIGKILL);
  ExpectStopped(ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
  if (HasExitStatus()) {
    EXPECT_THAT(LastEvidence(), Contains(HasSubstr("who sent SIGKILL is not known")));
  }
}

TEST_P(LibvirtHandoverTest, TheKeptReasonAndTheExitStatusAreBothEvidence) {
  libvirt_->SetLastEnd(KeptAs(ManagerEnd::kDestroyed, "shut off, destroyed"));
  FollowAndHandOver();
  EndByAndGoOn(SIGKILL);
  ExpectStopped(ShutdownClass::kAdmin, ShutdownCause::kHostDestroy);
  EXPECT_THAT(LastEvidence(), Contains("libvirt, asked afterwards: shut off, destroyed"));
  if (HasExitStatus()) {
    EXPECT_THAT(LastEvidence(), Contains(HasSubstr("signal 9")));
  }
}

TEST_P(LibvirtHandoverTest, AReasonThatIsNotKeptLeavesTheSignal) {
  FollowAndHandOver();
  EndByAndGoOn(SIGTERM);
  ASSERT_TRUE(UntilCount(EventType::kStopped));
  if (HasExitStatus()) ExpectStopped(ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
}

// It is asked also where the process ends between the start and libvirt's list.
TEST_P(LibvirtHandoverTest, AnEndBeforeTheListHasItsKeptReason) {
  libvirt_->SetLastEnd(KeptAs(ManagerEnd::kDestroyed, "shut off, destroyed"));
  FollowAndHandOver();
  libvirt_->Hang(true);
  GoOn();
  Step();
  process_.reset();
  std::filesystem::remove(directory_.Path("qemu/web1.pid"));
  libvirt_->SetActive({});
  Step();
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
  libvirt_->Hang(false);
  ExpectStopped(ShutdownClass::kAdmin, ShutdownCause::kHostDestroy);
}

TEST_P(LibvirtHandoverTest, AProcessThatIsAnotherOnesIsNotBelieved) {
  FollowAndHandOver();
  handed_[0].process = Child(Sleep).OpenPidfd();  // it has ended by now
  GoOn();
  ASSERT_TRUE(UntilConnected());
  Step();
  EXPECT_EQ(watcher_->counters().handovers, 0u);
  EXPECT_EQ(watcher_->counters().handovers_refused, 1u);
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
  EXPECT_EQ(sink_.Latest("web1")->state, VmState::kRunning);
}

TEST_P(LibvirtHandoverTest, AConnectionIsNoDomains) {
  FollowAndHandOver();
  handed_[0].connection = UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  GoOn();
  ASSERT_TRUE(UntilConnected());
  Step();
  EXPECT_EQ(watcher_->counters().handovers_refused, 1u);
  EXPECT_EQ(sink_.Latest("web1")->state, VmState::kRunning);
}

// A domain may have begun again under its UUID.
TEST_P(LibvirtHandoverTest, TheNextLifeOfADomainIsAnother) {
  FollowAndHandOver();
  StartProcess();
  libvirt_->SetActive({{{kDomain.name, kDomain.uuid, kDomain.id + 1}, "running"}});
  GoOn();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  ExpectEnd(ShutdownClass::kUnknown);
  EXPECT_EQ(sink_.Latest("web1")->ref.pid, process_->pid());
  EXPECT_THAT(keeper_->runs, SizeIs(1));
}

}  // namespace
}  // namespace vmeventd
