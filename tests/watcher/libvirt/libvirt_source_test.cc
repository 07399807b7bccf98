// Domains of a libvirt that the test plays: no process of theirs can be seen.

#include "watcher/libvirt/libvirt_source.h"

#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/health.h"
#include "tests/support/saved_run.h"
#include "tests/support/unix_socket.h"
#include "tests/watcher/libvirt/libvirt_source_test.h"
#include "tests/watcher/libvirt/test_domains.h"

namespace vmeventd {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::IsEmpty;

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

TEST_F(LibvirtSourceTest, AMonitorThatLibvirtLostWithoutAShutdownIsNoCrash) {
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

TEST_F(LibvirtSourceTest, ADomainThatRunsIsNotPausedByAnEventBeforeTheList) {
  libvirt_->SetActive({{kDomain, "running"}});
  libvirt_->AroundNextList([&] { libvirt_->Qmp(kDomain, "RTC_CHANGE", R"({"offset":0})"); }, {});
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted));
  EXPECT_EQ(sink_.Latest("web1")->state(), VmState::kRunning);
}

TEST_F(LibvirtSourceTest, EventsBeforeAndAfterTheListAreApplied) {
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

TEST_F(LibvirtSourceTest, AShutdownByTheGuestBeforeTheListIsTheUsers) {
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
TEST_F(LibvirtSourceTest, EventsOfTwoLivesAroundTheListBelongToTwoRuns) {
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
TEST_F(LibvirtSourceTest, TheEndOfAnotherLifeDoesNotEndThisOne) {
  FindDomain();
  libvirt_->SetActive({});
  const DomainName other = LifeWithId(1);
  libvirt_->AroundNextList(
      [&] { libvirt_->StoppedWithId(other, ManagerEnd::kDestroyed, "stopped, destroyed"); }, {});
  libvirt_->Close("libvirt closed the connection");
  ASSERT_TRUE(UntilInTime([&] { return sink_.Count(EventType::kStopped) == 1; }));
  ExpectEnd(ShutdownClass::kUnknown);
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
  const auto connected = [&] {
    const std::string uri = watcher_->Describe().libvirt_connections(0).uri();
    return watcher_->counters().OfSource("vmeventd_libvirt_connected", {{"uri", uri}});
  };
  EXPECT_EQ(connected(), 0u);
  EXPECT_THAT(watcher_->Troubles(), ElementsAre("a libvirt cannot be reached"));
  EXPECT_FALSE(Serves(*watcher_, "sources"));
  ASSERT_TRUE(Until([&] { return libvirt_->opened() >= 3; }));
  libvirt_->SetOpenError(absl::OkStatus());
  ASSERT_TRUE(UntilConnected());
  EXPECT_TRUE(Serves(*watcher_, "sources"));
  EXPECT_EQ(connected(), 1u);
  EXPECT_THAT(watcher_->Troubles(), IsEmpty());
  EXPECT_EQ(watcher_->Describe().libvirt_connections(0).problem().text(), "");
  EXPECT_EQ(sink_.Count(EventType::kGap), 0) << "it was never connected before";
}

TEST_F(LibvirtSourceTest, ALostLibvirtIsAProblemOfItsDomainsAndThenAGap) {
  FindDomain();
  libvirt_->SetOpenError(absl::UnavailableError("it is restarted"));
  libvirt_->Close("libvirt closed the connection");
  ASSERT_TRUE(UntilInTime([&] { return sink_.Count(EventType::kMonitorLost) == 1; }));
  ASSERT_EQ(sink_.Latest("web1")->problems_size(), 1);
  EXPECT_EQ(sink_.Latest("web1")->problems(0).code(), v1::PROBLEM_CODE_LIBVIRT_LOST);
  libvirt_->SetOpenError(absl::OkStatus());
  ASSERT_TRUE(UntilInTime([&] { return sink_.Count(EventType::kGap) == 1; }));
  EXPECT_EQ(sink_.Last(EventType::kGap)->update.event->gap_reason(), v1::GAP_REASON_LIBVIRT_LOST);
}

TEST_F(LibvirtSourceTest, ARunEndsIfItsLibvirtIsNoLongerConfigured) {
  FindDomain();
  options_.sources.libvirts.clear();
  Restart();
  ExpectEnd(ShutdownClass::kUnknown);
}

// The default of a configuration that names no source.
TEST_F(LibvirtSourceTest, ALibvirtOfTheDefaultIsFollowedAsSoonAsItsSocketExists) {
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
  EXPECT_THAT(watcher_->Troubles(), IsEmpty());
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
  ASSERT_TRUE(Until(
      [&] { return watcher_->counters().OfSource("vmeventd_libvirt_overflows_total") == 1; }));
  ASSERT_TRUE(
      Until([&] { return watcher_->counters().OfSource("vmeventd_libvirt_connects_total") == 2; }));
  ASSERT_TRUE(Until([&] { return sink_.Latest("web1") != nullptr; }));
}

}  // namespace
}  // namespace vmeventd
