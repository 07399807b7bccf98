#include "tests/watcher/libvirt/libvirt_process_test.h"

// Domains of a libvirt that the test plays, with processes that the test makes.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/problem_texts.h"
#include "tests/watcher/libvirt/test_domains.h"
#include "watcher/core/libvirt_spec.h"
#include "watcher/core/run_id.h"
#include "watcher/runs/host_ids.h"
#include "watcher/runs/process.h"
#include "watcher/runs/run_context.h"

namespace vmeventd {
namespace {

using testing::Contains;
using testing::HasSubstr;

TEST_F(LibvirtProcessTest, ADomainThatIsNotListedAndWhoseProcessLivesHasAProblem) {
  StartWithDomain();
  LoseLibvirt();
  libvirt_->SetOpenError(absl::OkStatus());
  ASSERT_TRUE(Until([&] {
    return ProblemTexts(sink_.Latest("web1")->problems()) ==
           std::vector<std::string>{
               "NOT_LISTED: libvirt does not list the domain, but its QEMU still runs"};
  }));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
}

TEST_F(LibvirtProcessTest, TheRunEndsWithItsProcessOnceLibvirtHasReported) {
  StartWithDomain();
  EXPECT_EQ(sink_.Latest("web1")->ref().pid(), process_->pid());
  ReportDestroyed();
  BeginOther();
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0) << "its process lives";
  process_.reset();
  ExpectEnd(ShutdownCause::kHostDestroy);
}

TEST_F(LibvirtProcessTest, WithoutAReportTheEndIsUnknownAndLateEventsBeginNoRun) {
  StartWithDomain();
  KillProcess();
  clock_.Advance(absl::Seconds(61));
  ASSERT_TRUE(UntilCount(EventType::kStopped));
  libvirt_->Qmp(kDomain, "SHUTDOWN", kHostSignal);
  ReportShutdown();
  StartDomain(LifeWithId(4));
  EXPECT_EQ(sink_.Count(EventType::kStarted), 2) << "the next life alone";
  EXPECT_EQ(sink_.Count(EventType::kStopped), 1);
}

// libvirt tidies up before it says that it has destroyed a QEMU that hung.
TEST_F(LibvirtProcessTest, AnEndThatNothingExplainsWaitsForLibvirtsReport) {
  StartWithDomain();
  KillProcess();
  clock_.Advance(absl::Seconds(50));
  Step();
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
  ReportDestroyed();
  ExpectEnd(ShutdownCause::kHostDestroy);
  // An end whose cause was seen waits for a shorter time, and none waits for a libvirt that is
  // lost.
  for (const bool lost : {false, true}) {
    StartProcess();
    StartDomain(LifeWithId(lost ? 5 : 4));
    libvirt_->Qmp(LifeWithId(lost ? 5 : 4), "SHUTDOWN", kGuestShutdown);
    Step();
    KillProcess();
    if (lost) {
      LoseLibvirt();
    } else {
      clock_.Advance(absl::Seconds(6));
    }
    ExpectEnd(ShutdownCause::kGuestPoweroff, lost ? 3 : 2);
  }
}

// A look at a process waits for its turn on the thread of its libvirt.
class LibvirtLookTest : public LibvirtProcessTest {
 protected:
  // The domain starts, and its process is not looked at before libvirt answers.
  void StartUnseen() {
    StartConnected();
    libvirt_->Hang(true);
    StartDomain(kOther);
    ASSERT_TRUE(Until([&] { return libvirt_->calls_under_way() == 1; }));
    libvirt_->Qmp(kDomain, "RESUME");
    libvirt_->Started(kDomain);
    libvirt_->Qmp(kDomain, "SHUTDOWN", kGuestShutdown);
    Step();
    EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
    EXPECT_TRUE(watcher_->waits());
  }
};

TEST_F(LibvirtLookTest, EventsDuringTheSearchWaitForItInOrder) {
  StartUnseen();
  libvirt_->Qmp(kOther, "STOP");
  ASSERT_TRUE(UntilCount(EventType::kPaused)) << "other domains do not wait";
  libvirt_->Hang(false);
  ASSERT_TRUE(UntilCount(EventType::kGuestShutdown));
  EXPECT_EQ(sink_.Count(EventType::kStarted), 2);
  EXPECT_EQ(sink_.Latest("web1")->ref().pid(), process_->pid());
  EXPECT_FALSE(watcher_->waits());
}

// libvirt has reported the start of a life, and the next one has its process already.
TEST_F(LibvirtLookTest, AFoundProcessMayBelongToTheNextLife) {
  process_.reset();
  StartUnseen();
  const uint64_t reported = StartTicksNow();
  ASSERT_TRUE(Until([&] { return StartTicksNow() > reported; }));
  StartProcess();
  libvirt_->Hang(false);
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  EXPECT_EQ(sink_.Latest("web1")->ref().pid(), 0);
}

TEST_F(LibvirtLookTest, ALifeThatBeginsDuringTheSearchForAnEarlierOneIsASeparateRun) {
  StartUnseen();
  const DomainName next = LifeWithId(4);
  libvirt_->Qmp(next, "RESUME");
  libvirt_->Started(next);
  libvirt_->Hang(false);
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  libvirt_->Qmp(next, "STOP");
  Step();
  EXPECT_EQ(sink_.Latest("web1")->state(), VmState::kPaused);
  EXPECT_EQ(sink_.Count(EventType::kGuestShutdown), 0) << "that was the last one's";
}

// libvirt names the life that ended where its domain is persistent.
TEST_F(LibvirtLookTest, AnEndOfTheEarlierLifeDuringTheSearchDoesNotEndTheNextLife) {
  StartUnseen();
  const DomainName next = LifeWithId(4);
  libvirt_->Qmp(next, "RESUME");
  libvirt_->Started(next);
  libvirt_->StoppedWithId(kDomain, ManagerEnd::kDestroyed, "stopped, destroyed");
  libvirt_->Hang(false);
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  process_.reset();
  ASSERT_TRUE(UntilCount(EventType::kStopped));
  EXPECT_NE(LastStopped().shutdown().cause(), ShutdownCause::kHostDestroy);
}

TEST_F(LibvirtLookTest, AConnectionLostDuringTheSearchIsMadeAgain) {
  StartUnseen();
  libvirt_->SetActive({{kDomain, "running"}});
  libvirt_->Close("libvirt closed the connection");
  libvirt_->Hang(false);
  ASSERT_TRUE(
      Until([&] { return watcher_->counters().OfSource("vmeventd_libvirt_connects_total") == 2; }));
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
}

TEST_F(LibvirtProcessTest, ADomainThatHasItsOldIdAgainAfterARebootIsFollowed) {
  StartWithDomain();
  ASSERT_EQ(SavedRuns().size(), 1);
  std::string text = SavedRuns().begin()->second;
  watcher_.reset();
  process_.reset();
  std::filesystem::remove(directory_.Path("qemu/web1.pid"));
  const std::string boot = RunIdPrefix(ReadBootId());
  ASSERT_NE(text.find(boot), std::string::npos);
  previous_.saved = {absl::StrReplaceAll(text, {{boot, "0000000000004000-"}})};
  libvirt_->SetActive({{kDomain, "running"}});
  StartProcess();
  Start();
  ASSERT_TRUE(UntilConnected());
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 1);
  EXPECT_EQ(sink_.Latest("web1")->state(), VmState::kRunning);
}

// The end was published because its process ended; libvirt reports it later.
TEST_F(LibvirtProcessTest, ALifeThatEndsAfterTheListBeginsNoRun) {
  EndWhileLibvirtIsLost();
  libvirt_->SetActive({{kDomain, "running"}});
  libvirt_->AroundNextList({}, [&] {
    std::filesystem::remove(directory_.Path("qemu/web1.pid"));
    libvirt_->Stopped(kDomain, ManagerEnd::kFailed, "stopped, failed");
  });
  libvirt_->SetOpenError(absl::OkStatus());
  ASSERT_TRUE(UntilConnected());
  BeginOther();
  EXPECT_EQ(sink_.Count(EventType::kStarted), 2) << "that of the other domain";
  EXPECT_EQ(sink_.Count(EventType::kStopped), 1);
}

// A new libvirtd reports the end of that life, then starts the next one, then makes its list.
TEST_F(LibvirtProcessTest, AnEndBeforeTheListDoesNotEndTheListedLife) {
  EndWhileLibvirtIsLost();
  const DomainName next = LifeWithId(4);
  libvirt_->AroundNextList(
      [&] {
        libvirt_->Qmp(kDomain, "SHUTDOWN", kHostSignal);
        libvirt_->Stopped(kDomain, ManagerEnd::kFailed, "stopped, failed");
        StartProcess();
        libvirt_->Qmp(next, "RESUME");
        libvirt_->Started(next);
        libvirt_->SetActive({{next, "running"}});
      },
      {});
  libvirt_->SetOpenError(absl::OkStatus());
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  EXPECT_EQ(sink_.Latest("web1")->ref().pid(), process_->pid());
  EXPECT_EQ(sink_.Count(EventType::kStopped), 1);
  libvirt_->Stopped(next, ManagerEnd::kDestroyed, "stopped, destroyed");
  process_.reset();
  ASSERT_TRUE(UntilCount(EventType::kStopped, 2));
  EXPECT_EQ(LastStopped().shutdown().cause(), ShutdownCause::kHostDestroy) << "that one is its own";
}

// The daemon is back, no descriptor is left for the life that it knows, and libvirt lists the next
// one.
TEST_F(LibvirtProcessTest, ARunWithoutADescriptorDoesNotHideTheDomainsNextLife) {
  StartWithDomain();
  options_.max_vm_descriptors = 0;
  libvirt_->Hang(true);
  Restart();
  ASSERT_TRUE(Until([&] {
    const auto& problems = sink_.Latest("web1")->problems();
    return problems.size() == 1 && problems[0].code() == v1::PROBLEM_CODE_OUT_OF_DESCRIPTORS &&
           problems[0].text() == kOutOfDescriptorsProblem;
  }));
  // By now its process is looked for every 5 s.
  for (int retry = 0; retry < 15; ++retry) {
    clock_.Advance(absl::Seconds(5));
    Step();
  }
  StartProcess();
  libvirt_->SetActive({{kDomain, "running"}});
  const int lists = libvirt_->lists();
  libvirt_->Hang(false);
  ASSERT_TRUE(StepUntil([] { absl::SleepFor(absl::Milliseconds(1)); },
                        [&] { return libvirt_->lists() > lists; }));
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  EXPECT_EQ(sink_.Latest("web1")->state(), VmState::kRunning);
  clock_.Advance(absl::Seconds(5));
  ExpectEnd(ShutdownClass::kUnknown);
  PowerOff();
  ExpectEnd(ShutdownCause::kGuestPoweroff, 2);
}

// A list that is not the first one decides of the other domain, whose process nobody sees.
TEST_F(LibvirtProcessTest, AnEndedLifeThatIsListedAgainBeginsNoRun) {
  EndWhileLibvirtIsLost();
  std::filesystem::remove(directory_.Path("qemu/web1.pid"));
  libvirt_->SetActive({{kDomain, "running"}, {kOther, "running"}});
  libvirt_->SetOpenError(absl::OkStatus());
  ASSERT_TRUE(UntilInTime([&] { return sink_.Latest("other") != nullptr; }));
  EXPECT_EQ(sink_.Count(EventType::kStarted), 2) << "that of the other domain";
}

// The process of the life before could not be seen, nor its end.
TEST_F(LibvirtProcessTest, AProcessThatStartedLaterIsTheNextLife) {
  process_.reset();
  clock_.Advance(-absl::Hours(1));
  StartWithDomain();
  EXPECT_EQ(sink_.Latest("web1")->ref().pid(), 0);
  LoseLibvirt();
  clock_.Advance(absl::Hours(1));
  StartProcess();
  libvirt_->SetActive({{kDomain, "running"}});
  libvirt_->SetOpenError(absl::OkStatus());
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 1);
  EXPECT_EQ(sink_.Latest("web1")->ref().pid(), process_->pid());
}

TEST_F(LibvirtProcessTest, AListThatStillHasAnEndedLifeBeginsNoRun) {
  EndWhileLibvirtIsLost();
  libvirt_->SetActive({{kDomain, "running"}});  // libvirt has not noticed
  libvirt_->SetOpenError(absl::OkStatus());
  ASSERT_TRUE(UntilConnected());
  libvirt_->Stopped(kDomain, ManagerEnd::kFailed, "stopped, failed");
  StartProcess();
  StartDomain(LifeWithId(4));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 1);
  EXPECT_EQ(sink_.Latest("web1")->ref().pid(), process_->pid());
}

TEST_F(LibvirtProcessTest, AFollowedProcessKeepsItsSourceIfAnotherUriListsIt) {
  StartWithDomain();
  const std::string source(sink_.Latest("web1")->ref().source());
  options_.sources.libvirts = {
      ParseLibvirtUri("qemu+unix:///system?socket=" + directory_.Path("virtqemud-sock")).value()};
  libvirt_->SetActive({{kDomain, "running"}});
  RestartConnected();
  ASSERT_TRUE(Until([&] { return watcher_->first_scan_done(); }));
  EXPECT_EQ(sink_.Latest("web1")->ref().source(), source);
  process_.reset();
  ExpectEnd(ShutdownClass::kUnknown);
  EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
}

// The process may have ended before libvirt noticed it.
TEST_F(LibvirtProcessTest, ADomainWithoutAVisibleProcessIsFollowedIfTheNextListHasItStill) {
  process_.reset();
  libvirt_->SetActive({{kDomain, "running"}});
  StartConnected();
  ASSERT_TRUE(Until([&] { return watcher_->first_scan_done(); }));
  EXPECT_EQ(sink_.Count(EventType::kStarted), 0);
  ASSERT_TRUE(UntilInTime([&] { return sink_.Count(EventType::kStarted) == 1; }));
  EXPECT_THAT(ProblemTexts(sink_.Latest("web1")->problems()),
              Contains(HasSubstr("PROCESS_NOT_VISIBLE: ")));
  StartProcess();
  ASSERT_TRUE(UntilInTime([&] { return sink_.Latest("web1")->ref().pid() == process_->pid(); }));
  EXPECT_TRUE(sink_.Latest("web1")->problems().empty());
}

}  // namespace
}  // namespace vmeventd
