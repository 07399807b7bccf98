// Domains of a libvirt that the test plays: no process of theirs can be seen, but where a test
// makes one.

#include "watcher/libvirt/libvirt_source.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_libvirt.h"
#include "tests/support/health.h"
#include "tests/support/problem_texts.h"
#include "tests/support/saved_run.h"
#include "tests/support/unix_socket.h"
#include "tests/watcher/libvirt/libvirt_source_test.h"
#include "tests/watcher/runs/child.h"
#include "watcher/core/run_id.h"
#include "watcher/core/specs.h"
#include "watcher/libvirt/libvirt_link.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/process.h"
#include "watcher/runs/run_context.h"

namespace vmeventd {
namespace {

using testing::Contains;
using testing::HasSubstr;

TEST_F(LibvirtSourceTest, ADomainStartsAndStops) {
  StartWithDomain();
  const v1::Vm* status = sink_.Latest("web1");
  EXPECT_EQ(status->state(), VmState::kRunning);
  EXPECT_EQ(status->ref().uuid(), kDomain.uuid);
  EXPECT_EQ(status->ref().source(),
            "libvirt:qemu+unix:///system?socket=" + directory_.Path("libvirt-sock"));
  libvirt_->Qmp(kDomain, "SHUTDOWN", kGuestShutdown);
  libvirt_->Qmp(kDomain, "STOP");
  libvirt_->Qmp(kDomain, "SHUTDOWN", kHostSignal);
  ReportShutdown();
  ExpectEnd(ShutdownCause::kGuestPoweroff);
  EXPECT_THAT(LastEvidence(), Contains("libvirt: stopped, shutdown"));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 1);
}

TEST_F(LibvirtSourceTest, AMonitorThatLibvirtLostWithoutAWordIsNoCrash) {
  StartWithDomain();
  libvirt_->Stopped(kDomain, ManagerEnd::kFailed, "stopped, failed");
  ASSERT_TRUE(UntilCount(EventType::kStopped));
  EXPECT_EQ(LastStopped().shutdown().shutdown_class(), ShutdownClass::kUnknown)
      << "its SHUTDOWN may have been lost with the connection";
}

TEST_F(LibvirtSourceTest, DomainsThatRunAreListed) {
  libvirt_->SetActive({{kDomain, "paused"}, {kOther, "running"}});
  Start();
  ASSERT_TRUE(Until([&] { return watcher_->first_scan_done(); }));
  EXPECT_EQ(sink_.Latest("web1")->state(), VmState::kPaused);
  EXPECT_EQ(sink_.Latest("other")->state(), VmState::kRunning);
  EXPECT_EQ(watcher_->Describe().libvirt_connections(0).domains(), 2);
  EXPECT_EQ(sink_.Count(EventType::kGap), 0);
}

TEST_F(LibvirtSourceTest, ADomainThatIsStartedPausedIsPaused) {
  StartConnected();
  libvirt_->Started(kDomain);
  ASSERT_TRUE(UntilCount(EventType::kStarted));
  EXPECT_EQ(sink_.Latest("web1")->state(), VmState::kPaused);
  libvirt_->Qmp(kDomain, "RESUME");
  ASSERT_TRUE(UntilCount(EventType::kResumed));
}

// Events between the beginning of a connection and the list of its domains.

TEST_F(LibvirtSourceTest, ADomainThatRunsIsNotPausedByAnEventBeforeTheList) {
  libvirt_->SetActive({{kDomain, "running"}});
  libvirt_->AroundNextList([&] { libvirt_->Qmp(kDomain, "RTC_CHANGE", R"({"offset":0})"); }, {});
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted));
  EXPECT_EQ(sink_.Latest("web1")->state(), VmState::kRunning);
}

TEST_F(LibvirtSourceTest, EventsAroundTheListOutliveIt) {
  const DomainName paused = {"paused", "475852fa-0000-4630-8eae-7a6231894c41", 5};
  const DomainName resumed = {"resumed", "475852fa-0000-4630-8eae-7a6231894c42", 6};
  libvirt_->SetActive({{paused, "running"}, {resumed, "running"}});
  libvirt_->AroundNextList([&] { libvirt_->Qmp(resumed, "RESUME"); },
                           [&] { libvirt_->Qmp(paused, "STOP"); });
  Start();
  ASSERT_TRUE(Until([&] { return watcher_->first_scan_done(); }));
  EXPECT_EQ(sink_.Latest("paused")->state(), VmState::kPaused);
  EXPECT_EQ(sink_.Latest("resumed")->state(), VmState::kRunning);
  EXPECT_EQ(libvirt_->lists(), 1);
}

TEST_F(LibvirtSourceTest, ADomainThatStartsWhileTheListIsMadeIsFollowed) {
  libvirt_->AroundNextList({}, [&] {
    libvirt_->Qmp(kDomain, "RESUME");
    libvirt_->Started(kDomain);
  });
  Start();
  ASSERT_TRUE(Until([&] { return watcher_->first_scan_done(); }));
  EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
  EXPECT_EQ(sink_.Latest("web1")->state(), VmState::kRunning);
}

TEST_F(LibvirtSourceTest, AGuestThatShutsDownBeforeTheListIsTheUsers) {
  libvirt_->SetActive({{kDomain, "shutdown"}});
  libvirt_->AroundNextList([&] { libvirt_->Qmp(kDomain, "SHUTDOWN", kGuestShutdown); }, {});
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted));
  ReportShutdown();
  ExpectEnd(ShutdownCause::kGuestPoweroff);
}

// Its SHUTDOWN host-signal after that is libvirt's own.
TEST_F(LibvirtSourceTest, AGuestThatWasDownBeforeTheConnectionIsUnknown) {
  libvirt_->SetActive({{kDomain, "shutdown"}});
  libvirt_->AroundNextList([&] { libvirt_->Qmp(kDomain, "SHUTDOWN", kHostSignal); }, {});
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted));
  ReportShutdown();
  ExpectEnd(ShutdownClass::kUnknown);
}

// The life before, which was known here, ends before the list; the next one is in it.
TEST_F(LibvirtSourceTest, EventsOfTwoLivesAroundTheListAreOfTwoRuns) {
  FindDomain();
  const DomainName next = LifeWithId(4);
  libvirt_->AroundNextList(
      [&] {
        PowerOff();
        libvirt_->Qmp(next, "RESUME");
        libvirt_->Started(next);
        libvirt_->SetActive({{next, "running"}});
      },
      {});
  libvirt_->Close("libvirt closed the connection");
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  ASSERT_TRUE(UntilConnected());
  EXPECT_EQ(sink_.Count(EventType::kStopped), 1);
  EXPECT_EQ(LastStopped().shutdown().cause(), ShutdownCause::kGuestPoweroff);
  EXPECT_EQ(sink_.Latest("web1")->state(), VmState::kRunning);
}

// libvirt forgets a domain without an event where it cannot reach its QEMU at its own start.
TEST_F(LibvirtSourceTest, ARunWithoutAProcessEndsWhenLibvirtListsItNoMore) {
  FindDomain();
  libvirt_->SetActive({});
  ASSERT_TRUE(UntilInTime([&] { return sink_.Count(EventType::kStopped) == 1; }));
  EXPECT_EQ(LastStopped().shutdown().shutdown_class(), ShutdownClass::kUnknown);
  EXPECT_THAT(LastEvidence(),
              Contains("libvirt does not list it any more, and its process cannot be seen"));
}

// A list that is asked for while it is connected says nothing of what comes meanwhile.
TEST_F(LibvirtSourceTest, ALaterListEndsNoRunThatBeginsMeanwhile) {
  libvirt_->SetActive({{kOther, "running"}});
  StartConnected();
  ASSERT_TRUE(UntilCount(EventType::kStarted));
  libvirt_->AroundNextList({}, [&] {
    libvirt_->Qmp(kDomain, "RESUME");
    libvirt_->Started(kDomain);
  });
  ASSERT_TRUE(UntilInTime([&] { return sink_.Count(EventType::kStarted) == 2; }));
  libvirt_->SetActive({{kOther, "running"}, {kDomain, "running"}});
  const int lists = libvirt_->lists();
  ASSERT_TRUE(UntilInTime([&] { return libvirt_->lists() >= lists + 2; }, absl::Seconds(10)));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
}

// It ended while the connection was lost, and another one of that name began and ended before the
// list.
TEST_F(LibvirtSourceTest, AnEndThatNamesAnotherIdIsNotThisLifes) {
  FindDomain();
  libvirt_->SetActive({});
  const DomainName other = LifeWithId(1);
  libvirt_->AroundNextList(
      [&] { libvirt_->StoppedWithId(other, ManagerEnd::kDestroyed, "stopped, destroyed"); }, {});
  libvirt_->Close("libvirt closed the connection");
  ASSERT_TRUE(UntilInTime([&] { return sink_.Count(EventType::kStopped) == 1; }));
  ExpectEnd(ShutdownClass::kUnknown);
}

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
  // One whose cause was seen waits for a shorter time, and none for a libvirt that is lost.
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
TEST_F(LibvirtLookTest, AProcessThatItFindsMayBeTheNextLifes) {
  process_.reset();
  StartUnseen();
  const uint64_t heard = StartTicksNow();
  ASSERT_TRUE(Until([&] { return StartTicksNow() > heard; }));
  StartProcess();
  libvirt_->Hang(false);
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  EXPECT_EQ(sink_.Latest("web1")->ref().pid(), 0);
}

TEST_F(LibvirtLookTest, AConnectionThatIsLostMeanwhileIsMadeAgain) {
  StartUnseen();
  libvirt_->SetActive({{kDomain, "running"}});
  libvirt_->Close("libvirt closed the connection");
  libvirt_->Hang(false);
  ASSERT_TRUE(Until([&] { return watcher_->counters().libvirt_connects == 2; }));
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
  options_.saved_runs = {absl::StrReplaceAll(text, {{boot, "0000000000004000-"}})};
  libvirt_->SetActive({{kDomain, "running"}});
  StartProcess();
  Start();
  ASSERT_TRUE(UntilConnected());
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 1);
  EXPECT_EQ(sink_.Latest("web1")->state(), VmState::kRunning);
}

// Its end was published by its process, and libvirt reports it later.
TEST_F(LibvirtProcessTest, AnEndedLifeWhoseEndFollowsTheListBeginsNoRun) {
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
TEST_F(LibvirtProcessTest, AnEndThatIsReportedBeforeTheListIsNotTheListedLifes) {
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
TEST_F(LibvirtProcessTest, ARunWithoutADescriptorDoesNotHideTheNextLifeOfItsId) {
  StartWithDomain();
  options_.max_vm_descriptors = 0;
  libvirt_->Hang(true);
  Restart();
  ASSERT_TRUE(Until([&] {
    const auto& problems = sink_.Latest("web1")->problems();
    return problems.size() == 1 && problems[0].code() == v1::PROBLEM_CODE_OUT_OF_DESCRIPTORS &&
           problems[0].text() == kOutOfDescriptorsProblem;
  }));
  // Its process is looked for each 5 s by now.
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

std::shared_ptr<const UniqueFd> NewWake() {
  return std::make_shared<const UniqueFd>(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

// A message that is handled late is no evidence about processes that began meanwhile.
TEST(LibvirtLinkTest, ARowOfAListIsAsOldAsTheList) {
  const auto libvirt = std::make_shared<FakeLibvirt>();
  libvirt->SetActive({{kDomain, "running"}});
  DetachedThreads threads(1, [] {});
  LibvirtLink link(libvirt, NewWake(), &threads, LibvirtSpec(), "", /*finds_processes=*/false);
  link.Open();
  ASSERT_TRUE(threads.WaitForJobs(absl::InfiniteDuration()));
  const std::vector<LibvirtMessage> messages = link.Take();
  ASSERT_FALSE(messages.empty());
  const auto& listed = std::get<DomainsListed>(messages.front());
  EXPECT_LE(listed.domains.at(0).domain.reported_ticks, StartTicksNow());
  link.Close();
  threads.WaitForJobs(absl::InfiniteDuration());
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

TEST_F(LibvirtSourceTest, TheNextLifeOfADomainIsAnotherRun) {
  FindDomain();
  const DomainName again = LifeWithId(4);
  libvirt_->SetActive({{again, "running"}});
  libvirt_->Close("libvirt closed the connection");
  ASSERT_TRUE(UntilCount(EventType::kStarted, 2));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 1);
  libvirt_->Stopped(again, ManagerEnd::kSaved, "stopped, saved");
  ExpectEnd(ShutdownCause::kHostSave, 2);
}

TEST_F(LibvirtSourceTest, ALibvirtThatHangsStallsNobody) {
  libvirt_->Hang(true);
  Start();
  ASSERT_TRUE(Until([&] { return libvirt_->opened() == 1; }));
  EXPECT_FALSE(watcher_->first_scan_done());
  clock_.Advance(absl::Seconds(6));
  ASSERT_TRUE(Until([&] { return watcher_->first_scan_done(); }));
  EXPECT_EQ(watcher_->Describe().libvirt_connections(0).problem().text(),
            "libvirt does not answer");
  watcher_.reset();  // does not wait for the call
}

TEST_F(LibvirtSourceTest, AnErrorIsShownAndTheConnectionTriedAgain) {
  options_.sources.watches.clear();
  libvirt_->SetOpenError(absl::PermissionDeniedError("cannot connect to libvirt"));
  Start();
  ASSERT_TRUE(Until([&] { return watcher_->first_scan_done(); }));
  const v1::Problem problem = watcher_->Describe().libvirt_connections(0).problem();
  EXPECT_EQ(problem.code(), v1::PROBLEM_CODE_PERMISSION_DENIED);
  EXPECT_EQ(problem.text(), "cannot connect to libvirt");
  EXPECT_FALSE(Serves(*watcher_, "sources"));
  ASSERT_TRUE(Until([&] { return libvirt_->opened() >= 3; }));
  libvirt_->SetOpenError(absl::OkStatus());
  ASSERT_TRUE(UntilConnected());
  EXPECT_TRUE(Serves(*watcher_, "sources"));
  EXPECT_EQ(watcher_->Describe().libvirt_connections(0).problem().text(), "");
  EXPECT_EQ(sink_.Count(EventType::kGap), 0) << "it was never connected before";
}

TEST_F(LibvirtSourceTest, ARunOfALibvirtThatIsNotNamedAnyMoreEnds) {
  FindDomain();
  options_.sources.libvirts.clear();
  Restart();
  ExpectEnd(ShutdownClass::kUnknown);
}

TEST_F(LibvirtProcessTest, AProcessThatIsFollowedStaysWithItsFirstLibvirt) {
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

// The default of a configuration that names no source.
TEST_F(LibvirtSourceTest, ALibvirtThatIsAwaitedIsFollowedAsSoonAsItIsThere) {
  const std::string socket = directory_.Path("virtqemud-sock");
  options_.sources.watches.clear();
  options_.sources.libvirts = {{.awaited = {directory_.Path("libvirt-sock"), socket}}};
  libvirt_->SetActive({{kDomain, "running"}});
  Start();
  ASSERT_TRUE(UntilInTime([&] { return watcher_->first_scan_done(); }));
  for (int turn = 0; turn < 3; ++turn) {
    clock_.Advance(absl::Minutes(1));
    Step();
  }
  EXPECT_EQ(watcher_->Describe().libvirt_connections_size(), 0) << "nobody misses it";
  EXPECT_TRUE(Serves(*watcher_, "libvirt"));
  EXPECT_FALSE(Serves(*watcher_, "sources"));
  const UniqueFd listener(e2e::ListenUnix(socket));
  ASSERT_TRUE(UntilInTime([&] { return sink_.Count(EventType::kStarted) == 1; }));
  EXPECT_EQ(sink_.Latest("web1")->ref().source(), "libvirt:qemu:///system");
  EXPECT_TRUE(Serves(*watcher_, "sources"));
  std::filesystem::remove(socket);  // a run of it needs none
  RestartConnected();
  ReportDestroyed();
  ExpectEnd(ShutdownCause::kHostDestroy);
}

// A pod, whose libvirt anybody may be.

class LibvirtPodsTest : public LibvirtSourceTest {
 protected:
  LibvirtPodsTest() {
    directory_.MakeDirectory("pods");
    options_.sources.libvirts = {
        ParseLibvirtUri("qemu+unix:///session?socket=" + directory_.Path("pods/*/sock")).value()};
  }
  ~LibvirtPodsTest() override {
    libvirt_->Hang(false);
    watcher_.reset();
  }

  void MakePod(const std::string& name) {
    directory_.MakeDirectory("pods/" + name);
    sockets_[name] = UniqueFd(e2e::ListenUnix(directory_.Path("pods/" + name + "/sock")));
  }
  void RemovePod(const std::string& name) {
    std::filesystem::remove_all(directory_.Path("pods/" + name));
  }
  bool UntilConnections(int count) {
    return UntilInTime([&] { return watcher_->Describe().libvirt_connections_size() == count; });
  }

  std::map<std::string, UniqueFd> sockets_;
};

TEST_F(LibvirtPodsTest, ASocketThatIsMadeAgainAndAgainTakesOneThread) {
  libvirt_->Hang(true, "hostile");
  Start();
  for (int round = 0; round < 10; ++round) {
    MakePod("hostile");
    ASSERT_TRUE(UntilConnections(1));
    ASSERT_TRUE(UntilInTime([&] { return libvirt_->calls_under_way() == 1; }));
    RemovePod("hostile");
    ASSERT_TRUE(UntilConnections(0));
  }
  EXPECT_EQ(libvirt_->opened(), 1);
  EXPECT_EQ(libvirt_->calls_under_way(), 1);
  MakePod("hostile");
  libvirt_->Hang(false);
  ASSERT_TRUE(UntilInTime([&] {
    const v1::GetServerInfoResponse info = watcher_->Describe();
    return info.libvirt_connections_size() > 0 && info.libvirt_connections(0).connected();
  })) << "it answers after all";
}

TEST_F(LibvirtPodsTest, ASocketThatIsMadeAgainIsNotTriedSooner) {
  libvirt_->SetOpenError(absl::UnavailableError("broken"));
  Start();
  int tried = 0;
  absl::Duration first;
  for (int round = 0; round < 40; ++round) {
    MakePod("hostile");
    ASSERT_TRUE(UntilConnections(1));
    if (round == 20) {
      tried = libvirt_->opened();
      first = clock_.Now().monotonic;
    }
    RemovePod("hostile");
    ASSERT_TRUE(UntilConnections(0));
  }
  const absl::Duration passed = clock_.Now().monotonic - first;
  EXPECT_LE(libvirt_->opened() - tried, passed / absl::Seconds(5) + 1);
}

TEST_F(LibvirtPodsTest, HangingPodsTakeTheThreadsOfOthersAtTheLimitOnly) {
  libvirt_->Hang(true, "hostile");
  const auto is_there = [&](absl::string_view pod, absl::string_view problem) {
    const v1::GetServerInfoResponse info = watcher_->Describe();
    const auto& states = info.libvirt_connections();
    return std::any_of(states.begin(), states.end(), [&](const v1::LibvirtConnection& state) {
      return absl::StrContains(state.uri(), pod) && state.connected() == problem.empty() &&
             absl::StartsWith(state.problem().text(), problem);
    });
  };
  for (int pod = 1; pod < LibvirtSource::kMaxThreads; ++pod) MakePod(absl::StrCat("hostile", pod));
  Start();
  ASSERT_TRUE(
      UntilInTime([&] { return libvirt_->calls_under_way() == LibvirtSource::kMaxThreads - 1; }));
  MakePod("good");
  ASSERT_TRUE(UntilInTime([&] { return is_there("/good/", ""); }));
  MakePod("hostile0");
  ASSERT_TRUE(
      UntilInTime([&] { return libvirt_->calls_under_way() == LibvirtSource::kMaxThreads; }));
  MakePod("late");
  ASSERT_TRUE(UntilInTime([&] { return is_there("/late/", "waiting for a free thread"); }));
  libvirt_->Hang(true, "hostile1");
  ASSERT_TRUE(UntilInTime([&] { return is_there("/late/", ""); }));
}

TEST_F(LibvirtPodsTest, AGlobIsOpenWhileItMatchesNoSocket) {
  options_.sources.watches.clear();
  libvirt_->SetOpenError(absl::UnavailableError("broken"));
  Start();
  ASSERT_TRUE(UntilInTime([&] { return watcher_->first_scan_done(); }));
  EXPECT_TRUE(Serves(*watcher_, "sources"));
  MakePod("broken");
  ASSERT_TRUE(UntilConnections(1));
  EXPECT_FALSE(Serves(*watcher_, "sources"));
}

TEST_F(LibvirtPodsTest, AMatchThatNoAddressReachesIsAProblemBesideOthersThatAreConnected) {
  options_.sources.watches.clear();
  options_.sources.libvirts = {
      ParseLibvirtUri("qemu+unix:///session?socket=" + directory_.Path("pods/*/*")).value()};
  MakePod("good");
  Start();
  ASSERT_TRUE(
      UntilInTime([&] { return Serves(*watcher_, "sources") && Serves(*watcher_, "libvirt"); }));
  const std::string name(83, 'n');
  const std::string path = directory_.MakeDirectory("pods/" + std::string(50, 'd')) + "/" + name;
  const UniqueFd socket(e2e::ListenUnix(directory_.Path(name)));
  std::filesystem::rename(directory_.Path(name), path);
  const std::string problem = path + ": its file name is too long for a Unix socket: 83 bytes";
  ASSERT_TRUE(UntilInTime([&] {
    std::vector<std::string> problems;
    const v1::GetServerInfoResponse info = watcher_->Describe();
    for (const v1::LibvirtConnection& state : info.libvirt_connections()) {
      if (!state.connected()) problems.push_back(state.problem().text());
    }
    return problems.size() == 1 && absl::StrContains(problems.front(), problem);
  }));
  EXPECT_FALSE(Serves(*watcher_, "libvirt"));
  EXPECT_TRUE(Serves(*watcher_, "sources"));
  std::filesystem::remove(path);
  EXPECT_TRUE(UntilInTime([&] { return Serves(*watcher_, "libvirt"); }));
}

TEST_F(LibvirtSourceTest, LabelsComeWithTheDetailsAndStandInTheNextEvent) {
  libvirt_->SetDetails({.agent = {.present = true, .open = true, .reported = true, .port = "c0"},
                        .labels = {{"app", "web"}, {"tier", "db"}}});
  StartWithDomain();
  ASSERT_TRUE(Until([&] {
    return sink_.Latest("web1") != nullptr && sink_.Latest("web1")->ref().labels().size() == 2;
  }));
  EXPECT_EQ(ParseSaved(SavedRuns().begin()->second).labels_size(), 2);
  libvirt_->SetDetails({.agent = {.present = true, .open = true, .reported = true, .port = "c0"},
                        .labels = {{"app", "mail"}}});
  libvirt_->DetailsChanged(kDomain);
  ASSERT_TRUE(Until([&] { return sink_.Latest("web1")->ref().labels().at("app") == "mail"; }));
  EXPECT_THAT(sink_.Latest("web1")->ref().labels(),
              testing::ElementsAre(testing::Pair("app", "mail")));
  PowerOff();
  ASSERT_TRUE(UntilCount(EventType::kStopped));
  EXPECT_THAT(LastStopped().shutdown().caveats(),
              Contains(v1::SHUTDOWN_CAVEAT_GUEST_AGENT_CONNECTED));
  EXPECT_THAT(sink_.Latest("web1")->ref().labels(),
              testing::ElementsAre(testing::Pair("app", "mail")));
}

TEST_F(LibvirtSourceTest, AFloodOfOneLibvirtIsCutAndItsDomainsListedAgain) {
  StartConnected();
  libvirt_->SetActive({{kDomain, "running"}});
  const std::string data = absl::StrCat(R"({"text":")", std::string(4'000, 'x'), R"("})");
  for (int event = 0; event < 2'000; ++event) libvirt_->Qmp(kDomain, "BLOCK_IO_ERROR", data);
  ASSERT_TRUE(Until([&] { return watcher_->counters().libvirt_overflows == 1; }));
  ASSERT_TRUE(Until([&] { return watcher_->counters().libvirt_connects == 2; }));
  ASSERT_TRUE(Until([&] { return sink_.Latest("web1") != nullptr; }));
}

// It may have ended before libvirt has noticed that.
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
