// What libvirt has kept of an end that came while vmeventd was away.

#include "tests/watcher/libvirt/libvirt_kept_end_test.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_libvirt.h"
#include "watcher/libvirt/libvirt_run.h"

namespace vmeventd {
namespace {

using testing::Contains;
using testing::HasSubstr;

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

TEST_F(LibvirtKeptEndTest, OfATransientDomainItIsInTheLog) {
  FollowAndStop();
  LogEnd("destroyed");
  EndAndRestart();
  ExpectStopped(ShutdownClass::kAdmin, ShutdownCause::kHostDestroy);
  EXPECT_THAT(LastEvidence(),
              Contains("libvirt, asked afterwards: shut off, destroyed, by its log"));
}

TEST_F(LibvirtKeptEndTest, InTheLogOfALibvirtThatWasRestartedSaysNothing) {
  FollowAndStop();
  LogEnd("crashed");
  RestartLibvirtd();
  EndAndRestart();
  ExpectUnknown("by a libvirt that may have been restarted meanwhile");
}

TEST_F(LibvirtKeptEndTest, OfALaterLifeInTheLogSaysNothing) {
  FollowAndStop();
  LogStart(absl::Now() + absl::Seconds(5));
  LogEnd("destroyed");
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

}  // namespace
}  // namespace vmeventd
