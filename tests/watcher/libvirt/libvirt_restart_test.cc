// An end that came while vmeventd was away: what libvirt has kept of it, and the process that the
// daemon before this one has left to the next one.

#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_libvirt.h"
#include "tests/support/machine_probe.h"
#include "tests/watcher/libvirt/libvirt_source_test.h"
#include "watcher/libvirt/libvirt_run.h"
#include "watcher/runs/handed_run.h"

namespace vmeventd {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::SizeIs;

// A daemon that is away as a domain ends, of which libvirt may have kept the reason.
class LibvirtKeptEndTest : public LibvirtProcessTest {
 protected:
  LibvirtKeptEndTest() {
    directory_.MakeDirectory("logs");
    directory_.MakeDirectory("logs/qemu");
    options_.libvirt_logs = directory_.Path("logs");
    std::ofstream(directory_.Path("qemu/driver.pid")) << 1;
    LogStart(absl::Now());
  }
  void Log(absl::Time time, const std::string& text) {
    std::ofstream(directory_.Path("logs/qemu/web1.log"), std::ios::app)
        << absl::FormatTime("%Y-%m-%d %H:%M:%E3S%z: ", time, absl::UTCTimeZone()) << text << "\n";
  }
  void LogStart(absl::Time time) { Log(time, "starting up libvirt version: 9.0.0"); }
  void RestartLibvirtd() {
    std::filesystem::last_write_time(
        directory_.Path("qemu/driver.pid"),
        std::filesystem::file_time_type::clock::now() + std::chrono::hours(1));
  }
  static DomainLifecycle KeptAs(std::optional<ManagerEnd> end, const std::string& text) {
    return {.what = DomainLifecycle::What::kStopped, .end = end, .text = text};
  }
  // A daemon that has followed the domain stops.
  void FollowAndStop() {
    StartWithDomain();
    ASSERT_TRUE(Until([&] { return sink_.Latest("web1")->state == VmState::kRunning; }));
    watcher_.reset();
  }
  // The domain ends, and the next daemon begins.
  void EndAndRestart() {
    process_.reset();
    std::filesystem::remove(directory_.Path("qemu/web1.pid"));
    libvirt_->SetActive({});
    Restart();
  }
  void ExpectStopped(ShutdownClass shutdown_class, ShutdownCause cause) {
    ASSERT_TRUE(UntilCount(EventType::kStopped));
    EXPECT_EQ(LastStopped().shutdown->shutdown_class, shutdown_class) << LastStopped().message;
    EXPECT_EQ(LastStopped().shutdown->cause, cause) << LastStopped().message;
    Step();
    EXPECT_EQ(sink_.Count(EventType::kStopped), 1);
    EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
  }
  void ExpectUnknown(const std::string& why) {
    ExpectStopped(ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
    EXPECT_THAT(LastEvidence(), Contains(HasSubstr(why)));
  }
};

struct KeptEnd {
  std::string name;
  std::optional<ManagerEnd> end;
  ShutdownClass shutdown_class;
  ShutdownCause cause;
};

class LibvirtKeptEndOfKindTest : public LibvirtKeptEndTest,
                                 public testing::WithParamInterface<KeptEnd> {};

INSTANTIATE_TEST_SUITE_P(
    Of, LibvirtKeptEndOfKindTest,
    testing::Values(
        KeptEnd{"Destroyed", ManagerEnd::kDestroyed, ShutdownClass::kAdmin,
                ShutdownCause::kHostDestroy},
        KeptEnd{"Saved", ManagerEnd::kSaved, ShutdownClass::kAdmin, ShutdownCause::kHostSave},
        KeptEnd{"Migrated", ManagerEnd::kMigrated, ShutdownClass::kAdmin,
                ShutdownCause::kMigratedAway},
        KeptEnd{"Crashed", ManagerEnd::kCrashed, ShutdownClass::kCrash, ShutdownCause::kUnobserved},
        KeptEnd{"Failed", ManagerEnd::kFailed, ShutdownClass::kCrash, ShutdownCause::kUnobserved},
        KeptEnd{"Shutdown", ManagerEnd::kShutdown, ShutdownClass::kUnknown,
                ShutdownCause::kUnobserved},
        KeptEnd{"Unknown", std::nullopt, ShutdownClass::kUnknown, ShutdownCause::kUnobserved}),
    [](const testing::TestParamInfo<KeptEnd>& kept) { return kept.param.name; });

TEST_P(LibvirtKeptEndOfKindTest, IsEvidence) {
  FollowAndStop();
  libvirt_->SetLastEnd(KeptAs(GetParam().end, "shut off, so"));
  EndAndRestart();
  ExpectStopped(GetParam().shutdown_class, GetParam().cause);
  EXPECT_THAT(LastEvidence(), Contains("libvirt, asked afterwards: shut off, so"));
}

TEST_F(LibvirtKeptEndTest, WhatWasSeenBeforeDecides) {
  StartWithDomain();
  libvirt_->Qmp(kDomain, "SHUTDOWN", kGuestShutdown);
  ASSERT_TRUE(Until([&] {
    const auto kept = Kept();
    return !kept.empty() && absl::StrContains(kept.begin()->second, "guest-shutdown");
  }));
  watcher_.reset();
  libvirt_->SetLastEnd(KeptAs(ManagerEnd::kDestroyed, "shut off, destroyed"));
  EndAndRestart();
  ExpectStopped(ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
}

// `virsh dump --crash` is reported as a crash, and kept as one.
class LibvirtReportHeardTest : public LibvirtKeptEndTest {
 protected:
  LibvirtReportHeardTest() {
    StartWithDomain();
    libvirt_->Stopped(kDomain, ManagerEnd::kCrashed, "stopped, crashed");
    EXPECT_TRUE(Until([&] {
      const auto kept = Kept();
      return !kept.empty() && absl::StrContains(kept.begin()->second, "stopped, crashed");
    }));
    watcher_.reset();
  }
};

TEST_F(LibvirtReportHeardTest, CountsBesideWhatIsKept) {
  libvirt_->SetLastEnd(KeptAs(ManagerEnd::kCrashed, "shut off, crashed"));
  EndAndRestart();
  ExpectStopped(ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
}

TEST_F(LibvirtReportHeardTest, IsNotTakenForWhatIsKept) {
  EndAndRestart();
  ExpectStopped(ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
}

TEST_F(LibvirtKeptEndTest, OfALibvirtThatWasRestartedSaysNothing) {
  FollowAndStop();
  libvirt_->SetLastEnd(KeptAs(ManagerEnd::kCrashed, "shut off, crashed"));
  RestartLibvirtd();
  EndAndRestart();
  ExpectUnknown("by a libvirt that may have been restarted meanwhile");
}

TEST_F(LibvirtKeptEndTest, OfADomainThatBeganAgainSaysNothing) {
  FollowAndStop();
  libvirt_->SetLastEnd(KeptAs(ManagerEnd::kDestroyed, "shut off, destroyed"));
  LogStart(absl::Now() + absl::Seconds(5));
  EndAndRestart();
  ExpectUnknown("of this or of a later life of the domain");
}

TEST_F(LibvirtKeptEndTest, WithoutALogSaysNothing) {
  FollowAndStop();
  libvirt_->SetLastEnd(KeptAs(ManagerEnd::kDestroyed, "shut off, destroyed"));
  std::filesystem::remove(directory_.Path("logs/qemu/web1.log"));
  EndAndRestart();
  ExpectUnknown("of this or of a later life of the domain");
}

TEST_F(LibvirtKeptEndTest, OfATransientDomainThereIsNone) {
  FollowAndStop();
  EndAndRestart();
  ExpectUnknown("libvirt has kept nothing of its end");
}

TEST_F(LibvirtKeptEndTest, OfADomainThatRunsAgainIsGone) {
  FollowAndStop();
  libvirt_->SetLastEnd(KeptAs(ManagerEnd::kDestroyed, "shut off, destroyed"));
  StartProcess();
  libvirt_->SetActive({{{kDomain.name, kDomain.uuid, kDomain.id + 1}, "running"}});
  Restart();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  ASSERT_EQ(sink_.Count(EventType::kStopped), 1);
  EXPECT_EQ(LastStopped().shutdown->shutdown_class, ShutdownClass::kUnknown);
  EXPECT_EQ(sink_.Latest("web1")->ref.pid, process_->pid());
}

TEST_F(LibvirtKeptEndTest, IsNotWaitedForWhereLibvirtIsAway) {
  FollowAndStop();
  libvirt_->SetOpenError(absl::UnavailableError("it is away"));
  EndAndRestart();
  ExpectStopped(ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
}

// It may have been libvirt, which nobody here heard yet.
TEST_F(LibvirtKeptEndTest, AKillBeforeTheListIsNobodysCrash) {
  FollowAndStop();
  libvirt_->SetOpenError(absl::UnavailableError("it is away"));
  Restart();
  Step();
  ASSERT_EQ(sink_.Count(EventType::kStopped), 0);
  process_.reset();
  ExpectStopped(ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
}

TEST_F(LibvirtKeptEndTest, IsNotWaitedForLongWhereLibvirtHangs) {
  FollowAndStop();
  libvirt_->Hang(true);
  EndAndRestart();
  Step();
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
  clock_.Advance(LibvirtRun::kKeptEndWait);
  ExpectStopped(ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
}

class LibvirtHandoverTest : public LibvirtKeptEndTest {
 protected:
  void Stop() {
    handed_ = watcher_->HandOver();
    watcher_.reset();
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
  static bool HasExitStatus() { return WhyNoPidfdExitStatus().empty(); }
  void ExpectHandedOver() {
    EXPECT_EQ(watcher_->counters().handovers, 1u);
    EXPECT_EQ(watcher_->counters().handovers_refused, 0u);
  }

  std::vector<HandedRun> handed_;
};

TEST_F(LibvirtHandoverTest, ADomainGoesOn) {
  FollowAndHandOver();
  GoOn();
  ASSERT_TRUE(UntilConnected());
  Step();
  ExpectHandedOver();
  EXPECT_EQ(sink_.Latest("web1")->state, VmState::kRunning);
  EXPECT_EQ(sink_.Count(EventType::kGap), 0);
  libvirt_->Qmp(kDomain, "SHUTDOWN", kGuestShutdown);
  process_.reset();
  libvirt_->SetActive({});
  ReportShutdown();
  ExpectStopped(ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
}

TEST_F(LibvirtHandoverTest, ACrashOfATransientDomainIsOne) {
  FollowAndHandOver();
  EndByAndGoOn(SIGSEGV);
  ASSERT_TRUE(UntilCount(EventType::kStopped));
  ExpectHandedOver();
  EXPECT_THAT(LastEvidence(), Contains("libvirt has kept nothing of its end"));
  if (HasExitStatus()) ExpectStopped(ShutdownClass::kCrash, ShutdownCause::kQemuCrashed);
}

TEST_F(LibvirtHandoverTest, WhoKilledATransientDomainIsNotKnown) {
  FollowAndHandOver();
  EndByAndGoOn(SIGKILL);
  ExpectStopped(ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
  if (HasExitStatus()) {
    EXPECT_THAT(LastEvidence(), Contains(HasSubstr("who sent SIGKILL is not known")));
  }
}

TEST_F(LibvirtHandoverTest, TheKeptReasonAndTheExitStatusAreBothEvidence) {
  libvirt_->SetLastEnd(KeptAs(ManagerEnd::kDestroyed, "shut off, destroyed"));
  FollowAndHandOver();
  EndByAndGoOn(SIGKILL);
  ExpectStopped(ShutdownClass::kAdmin, ShutdownCause::kHostDestroy);
  EXPECT_THAT(LastEvidence(), Contains("libvirt, asked afterwards: shut off, destroyed"));
  if (HasExitStatus()) {
    EXPECT_THAT(LastEvidence(), Contains(HasSubstr("signal 9")));
  }
}

TEST_F(LibvirtHandoverTest, AReasonThatIsNotKeptLeavesTheSignal) {
  FollowAndHandOver();
  EndByAndGoOn(SIGTERM);
  ASSERT_TRUE(UntilCount(EventType::kStopped));
  if (HasExitStatus()) ExpectStopped(ShutdownClass::kAdmin, ShutdownCause::kHostSignal);
}

// It is asked also where the process ends between the start and libvirt's list.
TEST_F(LibvirtHandoverTest, AnEndBeforeTheListHasItsKeptReason) {
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

TEST_F(LibvirtHandoverTest, AProcessThatIsAnotherOnesIsNotBelieved) {
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

TEST_F(LibvirtHandoverTest, AConnectionIsNoDomains) {
  FollowAndHandOver();
  handed_[0].connection = UniqueFd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  GoOn();
  ASSERT_TRUE(UntilConnected());
  Step();
  EXPECT_EQ(watcher_->counters().handovers_refused, 1u);
  EXPECT_EQ(sink_.Latest("web1")->state, VmState::kRunning);
}

// A domain may have begun again under its UUID.
TEST_F(LibvirtHandoverTest, TheNextLifeOfADomainIsAnother) {
  FollowAndHandOver();
  StartProcess();
  libvirt_->SetActive({{{kDomain.name, kDomain.uuid, kDomain.id + 1}, "running"}});
  GoOn();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  ExpectEnd(ShutdownClass::kUnknown);
  EXPECT_EQ(sink_.Latest("web1")->ref.pid, process_->pid());
}

}  // namespace
}  // namespace vmeventd
