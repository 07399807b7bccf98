#include "watcher/node/node_watcher.h"

#include <atomic>
#include <csignal>
#include <memory>
#include <numeric>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/files.h"
#include "tests/support/qmp_lines.h"
#include "tests/watcher/host/fake_host_shutdown.h"
#include "tests/watcher/node/node_watcher_fixture.h"
#include "watcher/session/event_limiter.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

using NodeWatcherTest = NodeWatcherFixture;

TEST_F(NodeWatcherTest, FollowsASocketThatIsThereAtTheStart) {
  FakeMonitor behavior{.uuid = "550e8400-e29b-41d4-a716-446655440000"};
  qemu_.AddMonitor(Socket("vm1"), behavior);
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 1));
  EXPECT_TRUE(watcher_->first_scan_done());
  const v1::Vm* status = sink_.Latest("vm1");
  EXPECT_EQ(status->state(), VmState::kRunning);
  EXPECT_EQ(status->ref().pid(), qemu_.pid());
  EXPECT_EQ(status->ref().uuid(), behavior.uuid);
  EXPECT_FALSE(status->ref().run_id().empty());
  EXPECT_EQ(status->qemu_version(), "7.2.22");
  EXPECT_EQ(status->monitor_path(), Socket("vm1"));
  EXPECT_TRUE(status->has_start_time());
  EXPECT_THAT(status->problems(), IsEmpty());
  ASSERT_EQ(watcher_->Describe().directories_size(), 1);
  EXPECT_EQ(watcher_->Describe().directories(0).sockets(), 1);
}

TEST_F(NodeWatcherTest, TheShutdownFileIsWrittenAtEofBeforeTheProcessEnds) {
  const int monitor = Follow(&qemu_);
  qemu_.Send(monitor, kGuestShutdownLine);
  qemu_.CloseListener(monitor);
  qemu_.CloseClient(monitor);
  ASSERT_TRUE(Until([&] { return e2e::Exists(ShutdownFile("vm1")); }));
  EXPECT_EQ(sink_.Count(EventType::kStopped), 0);
  qemu_.Kill(SIGKILL);
  EXPECT_TRUE(UntilCount(EventType::kStopped, 1));
}

// The same holds with and without a handover.
TEST_F(NodeWatcherTest, EventsDroppedInAFloodAreReportedWhenTheDaemonStops) {
  constexpr int kEvents = EventLimiter::kBurst + 300;
  const int monitor = FollowWithManualClock();
  std::string flood;
  for (int i = 0; i < kEvents; ++i) flood += EventLine("MEMORY_FAILURE");
  qemu_.Send(monitor, flood);
  ASSERT_TRUE(Until([&] { return watcher_->counters().rate_limited_events.value() == 300; }));
  ASSERT_EQ(sink_.Count(EventType::kGap), 0) << "the flood may last";
  watcher_->PublishRest();
  ASSERT_EQ(sink_.Count(EventType::kGap), 1);
  EXPECT_THAT(sink_.Last(EventType::kGap)->update.event->message(),
              HasSubstr("300 events of this VM were dropped"));
}

TEST_F(NodeWatcherTest, EofOnALivingProcessIsNoEndAndTheMonitorIsFoundAgain) {
  const int monitor = Follow(&qemu_);
  const std::string run_id(sink_.Latest("vm1")->ref().run_id());
  qemu_.CloseClient(monitor);
  ASSERT_TRUE(UntilCount(EventType::kMonitorRestored, 1));
  EXPECT_THAT(sink_.Types("vm1"), ElementsAre(EventType::kStarted, EventType::kMonitorLost,
                                              EventType::kMonitorRestored));
  EXPECT_EQ(sink_.Latest("vm1")->ref().run_id(), run_id);
  EXPECT_EQ(sink_.Latest("vm1")->state(), VmState::kRunning);
  EXPECT_EQ(watcher_->counters().monitors_lost, 1u);
  EXPECT_EQ(watcher_->counters().OfSource("vmeventd_monitor_reconnects_total"), 1u);
}

TEST_F(NodeWatcherTest, ASocketThatTheSameProcessCreatedAgainIsTheSameRun) {
  const int monitor = Follow(&qemu_);
  qemu_.Unlink(monitor);
  qemu_.AddMonitor(Socket("vm1"));
  ASSERT_TRUE(UntilCount(EventType::kMonitorRestored, 1));
  EXPECT_EQ(sink_.Count(EventType::kStarted), 1);
  EXPECT_TRUE(Until([&] { return !qemu_.HasClient(monitor); }));
}

TEST_F(NodeWatcherTest, ItsDescriptionIncludesTheHostsShutdown) {
  const auto host = std::make_shared<FakeHostShutdown>();
  options_.host_shutdown.source = host;
  Start();
  host->SetState({.known = true, .shutting_down = true, .by = "systemd-logind"});
  Turns();
  EXPECT_TRUE(watcher_->Describe().host_shutdown().shutting_down());
}

TEST_F(NodeWatcherTest, OnlyQueriesAreSent) {
  const int monitor = Follow(&qemu_);
  ASSERT_TRUE(Until([&] { return qemu_.Commands(monitor).size() >= 6; }));
  qemu_.Send(monitor, EventLine("STOP"));
  ASSERT_TRUE(Until([&] { return qemu_.Commands(monitor).size() >= 7; }));
  EXPECT_THAT(qemu_.Commands(monitor),
              ElementsAre(HasSubstr("qmp_capabilities"), HasSubstr("query-uuid"),
                          HasSubstr("query-name"), HasSubstr("query-status"), HasSubstr("qom-list"),
                          HasSubstr("qom-list"), HasSubstr("query-status")));
}

class UntrackedTest : public NodeWatcherFixture {
 protected:
  UntrackedTest() { options_.process_tracking = false; }
};

TEST_F(UntrackedTest, EofIsTheEndAndTheEventReportsThat) {
  const int monitor = Follow(&qemu_);
  EXPECT_EQ(sink_.Latest("vm1")->ref().pid(), 0);
  EXPECT_EQ(watcher_->Describe().exit_status_source(), v1::EXIT_STATUS_SOURCE_NONE);
  qemu_.Send(monitor, kGuestShutdownLine);
  qemu_.CloseListener(monitor);
  qemu_.CloseClient(monitor);
  ExpectEnd(ShutdownClass::kUser);
  EXPECT_TRUE(sink_.Last(EventType::kStopped)->shutdown_file);
  const auto& evidence = sink_.Last(EventType::kStopped)->update.event->shutdown().evidence();
  EXPECT_THAT(evidence.rbegin()->what(), HasSubstr("not tracked"));
}

TEST_F(UntrackedTest, AHeldMonitorIsListedUntilItsSocketGoesAway) {
  options_.greeting_timeout = absl::Milliseconds(30);
  const int monitor = qemu_.AddMonitor(Socket("vm1"), {.greet = false});
  Start();
  ASSERT_TRUE(UntilUnfollowed("vm1", "held by another client"));
  qemu_.Unlink(monitor);
  EXPECT_TRUE(UntilUnfollowed("vm1", ""));
  EXPECT_EQ(sink_.Count(EventType::kStarted), 0) << "nobody knows of a VM";
}

TEST_F(UntrackedTest, AConnectionThatEndsUnansweredIsNoRun) {
  options_.greeting_timeout = absl::Seconds(20);
  const int monitor = qemu_.AddMonitor(Socket("vm1"), {.greet = false});
  Start();
  ASSERT_TRUE(Until([&] { return qemu_.HasClient(monitor); }));
  qemu_.CloseClient(monitor);
  qemu_.SetBehavior(monitor, FakeMonitor());
  ASSERT_TRUE(UntilCount(EventType::kStarted, 1));
  EXPECT_THAT(sink_.Types(), ElementsAre(EventType::kStarted));
}

// What the watcher counts, and that any thread may read it at any time.

using WatcherCountersTest = NodeWatcherFixture;

uint64_t CountOf(const LatencyHistogram::Snapshot& times) {
  return std::accumulate(times.counts.begin(), times.counts.end(), uint64_t{0});
}

TEST_F(WatcherCountersTest, AnyThreadReadsThem) {
  const int monitor = qemu_.AddMonitor(Socket("vm1"));
  Start();
  std::atomic<bool> stop = false;
  std::thread reader([&] {
    while (!stop) EXPECT_LE(CountOf(watcher_->counters().shutdown_file_times), 1u);
  });
  EXPECT_TRUE(UntilState("vm1", VmState::kRunning));
  qemu_.Send(monitor, kGuestShutdownLine);
  qemu_.Exit();
  EXPECT_TRUE(UntilCount(EventType::kStopped, 1));
  stop = true;
  reader.join();
  EXPECT_EQ(CountOf(watcher_->counters().shutdown_file_times), 1u);
}

}  // namespace
}  // namespace vmeventd
