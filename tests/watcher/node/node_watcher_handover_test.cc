#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/uuid.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/filled_message.h"
#include "tests/support/machine_probe.h"
#include "tests/support/qmp_lines.h"
#include "tests/support/saved_messages.h"
#include "tests/watcher/host/fake_host_shutdown.h"
#include "tests/watcher/node/restart_test.h"
#include "watcher/node/intent_request.h"
#include "watcher/runs/exit_status_reader.h"
#include "watcher/runs/handed_run.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

// A daemon that stops, and another one that resumes the runs that it hands over.
class HandoverTest : public RestartTest {
 protected:
  // Starts a daemon that follows vm1.
  int Follow(FakeQemu* qemu) {
    const int monitor = RestartTest::Follow(qemu);
    EXPECT_TRUE(UntilAgentsKnown());
    return monitor;
  }
  void Stop() {
    watcher_->PublishRest();
    handed_ = watcher_->HandOver().value().runs;
    const int exits = watcher_->exit_status_socket();
    if (exits >= 0) previous_.exit_statuses = UniqueFd(dup(exits));
    Die();
  }
  void Resume() {
    previous_.handed = std::move(handed_);
    Restart();
    EXPECT_TRUE(UntilScanned());
  }

  std::vector<HandedRun> handed_;
};

// The kernel reports how a process ended only by messages, as Linux does before 6.15.
class ConnectorHandoverTest : public HandoverTest {
 protected:
  void SetUp() override {
    if (const std::string why = WhyNoProcConnector(); !why.empty()) GTEST_SKIP() << why;
    options_.exit_status_source = ExitStatusSource::kProcConnector;
  }
};

TEST_F(ConnectorHandoverTest, ACrashDuringTheHandoverIsReportedAsACrash) {
  Follow(&qemu_);
  Stop();
  qemu_.Kill(SIGABRT);
  qemu_.Reap();
  Resume();
  ExpectEnd(ShutdownClass::kCrash);
  EXPECT_THAT(EvidenceText(),
              HasSubstr("process gone while vmeventd was restarted; exit signal 6"));
}

TEST_F(ConnectorHandoverTest, AStatusThatWasReadBeforeTheStopCounts) {
  Follow(&qemu_);
  Stop();
  ASSERT_THAT(handed_, SizeIs(1));
  EXPECT_EQ(handed_[0].state.pid(), qemu_.pid());
  handed_[0].state.set_wait_status(SIGABRT);
  qemu_.Kill(SIGKILL);
  qemu_.Reap();
  Resume();
  ExpectEnd(ShutdownClass::kCrash);
}

TEST_F(HandoverTest, AnObjectThatIsSpreadOverLinesIsReadInTwoParts) {
  const std::string line = Spread(EventLine("STOP"));
  const int monitor = Follow(&qemu_);
  qemu_.Send(monitor, line);
  ASSERT_TRUE(UntilState("vm1", VmState::kPaused));
  qemu_.Send(monitor, EventLine("RESUME") + line.substr(0, 30));
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  Stop();
  ASSERT_EQ(handed_.size(), 1u);
  EXPECT_EQ(handed_[0].state.unhandled(), line.substr(0, 30));
  qemu_.Send(monitor, line.substr(30));
  Resume();
  EXPECT_TRUE(UntilState("vm1", VmState::kPaused));
  EXPECT_THAT(sink_.Types(), ElementsAre(EventType::kStarted, EventType::kPaused,
                                         EventType::kResumed, EventType::kPaused));
}

TEST_F(HandoverTest, ARunThatIsHandedOverTwiceIsStillFollowed) {
  const int monitor = Follow(&qemu_);
  const std::vector<std::string> asked = qemu_.Commands(monitor);
  for (int i = 0; i < 2; ++i) {
    Stop();
    ASSERT_THAT(handed_, SizeIs(1)) << i;
    Resume();
    EXPECT_EQ(watcher_->counters().handovers, 1u) << i;
  }
  EXPECT_EQ(qemu_.Commands(monitor), asked);
  qemu_.SendAndExit(monitor, kGuestShutdownLine);
  ExpectEnd(ShutdownClass::kUser);
}

// Not the run id and the pid: they are those of this QEMU.
TEST_F(HandoverTest, EachFieldOfARunThatIsHandedOverIsHandedOverAgain) {
  const bool has_connector = WhyNoProcConnector().empty();
  if (has_connector) options_.exit_status_source = ExitStatusSource::kProcConnector;
  Follow(&qemu_);
  Stop();
  SavedMessages messages;
  for (const bool flag : {true, false}) {
    ASSERT_THAT(handed_, SizeIs(1));
    const auto filled = messages.New("HandedRunState");
    Fill(flag, filled.get());
    internal::HandedRunState state;
    ASSERT_TRUE(state.ParseFromString(filled->SerializeAsString()));
    state.set_run_id(handed_[0].state.run_id());
    state.set_pid(handed_[0].state.pid());
    handed_[0].state = state;
    Resume();
    Stop();
    ASSERT_THAT(handed_, SizeIs(1));
    if (!has_connector) state.clear_wait_status();  // no other source reads it before the end
    const auto expected = messages.New("HandedRunState");
    const auto found = messages.New("HandedRunState");
    ASSERT_TRUE(expected->ParseFromString(state.SerializeAsString()));
    ASSERT_TRUE(found->ParseFromString(handed_[0].state.SerializeAsString()));
    EXPECT_EQ(Differences(*expected, *found), "");
  }
}

TEST_F(HandoverTest, AShutdownBeforeTheHandoverDecidesAnEndAfterIt) {
  const int monitor = Follow(&qemu_);
  qemu_.Send(monitor, kQuitLine);
  ASSERT_TRUE(UntilShutdownSaved());
  Stop();
  ASSERT_THAT(handed_, SizeIs(1));
  EXPECT_TRUE(handed_[0].state.ending());
  qemu_.SendAndExit(monitor, kGuestShutdownLine);
  Resume();
  ExpectEnd(ShutdownClass::kAdmin);
}

TEST_F(HandoverTest, AHostShutdownCancelledDuringTheHandoverIsNotTheCause) {
  const auto host = std::make_shared<FakeHostShutdown>();
  options_.host_shutdown.source = host;
  host->SetState({.known = true, .shutting_down = true, .by = "systemd-logind"});
  const int monitor = Follow(&qemu_);
  Stop();
  qemu_.SendAndExit(monitor,
                    EventLine("SHUTDOWN", "{\"guest\": false, \"reason\": \"host-signal\"}"));
  host->SetState({.known = true, .shutting_down = false, .by = "systemd-logind"});
  Resume();
  ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  EXPECT_EQ(Stopped().cause(), ShutdownCause::kHostSignal);
}

TEST_F(HandoverTest, AHostShutdownThatBeganAfterAnEndIsNotItsCause) {
  const auto host = std::make_shared<FakeHostShutdown>();
  options_.host_shutdown.source = host;
  host->SetState({.known = true, .shutting_down = false, .by = "systemd-logind"});
  Follow(&qemu_);
  Stop();
  qemu_.Kill(SIGTERM);
  AwaitEnd(qemu_.pid());
  host->SetState({.known = true, .shutting_down = true, .by = "systemd-logind"});
  Resume();
  ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  EXPECT_NE(Stopped().cause(), ShutdownCause::kHostShutdown);
}

TEST_F(HandoverTest, DescriptorsOfAnUnknownRunAreClosed) {
  const int monitor = Follow(&qemu_);
  Stop();
  previous_.handed = std::move(handed_);
  StartUntilScanned({});
  EXPECT_EQ(watcher_->counters().handovers_refused, 1u);
  // QEMU serves the new connection, as the old one has ended.
  EXPECT_TRUE(Until([&] { return qemu_.Commands(monitor).size() > 1; }));
}

TEST_F(HandoverTest, AProcessOfAnotherVmIsRefused) {
  FakeQemu other;
  Follow(&qemu_);
  other.AddMonitor(Socket("vm2"));
  ASSERT_TRUE(UntilState("vm2", VmState::kRunning));
  Stop();
  ASSERT_THAT(handed_, SizeIs(2));
  std::swap(handed_[0].process, handed_[1].process);
  Resume();
  EXPECT_EQ(watcher_->counters().handovers, 0u);
  EXPECT_EQ(watcher_->counters().handovers_refused, 2u);
}

TEST_F(HandoverTest, TheMonitorOfASocketThatIsNoLongerWatchedIsClosed) {
  const int monitor = Follow(&qemu_);
  Stop();
  directory_.MakeDirectory("elsewhere");
  options_.sources.watches = {Spec("elsewhere")};
  Resume();
  EXPECT_EQ(watcher_->counters().handovers_refused, 1u);
  EXPECT_TRUE(Until([&] { return !qemu_.HasClient(monitor); }));
}

TEST_F(HandoverTest, AnUntrackedRunIsStillFollowed) {
  options_.process_tracking = false;
  const int monitor = Follow(&qemu_);
  Stop();
  ASSERT_THAT(handed_, SizeIs(1));
  EXPECT_FALSE(handed_[0].process.valid());
  qemu_.SendAndExit(monitor, kGuestShutdownLine);
  Resume();
  ExpectEnd(ShutdownClass::kUser);
}

// QEMU is not asked for its UUID again.
TEST_F(HandoverTest, AnIntentFindsARunThatWasHandedOverByItsUuid) {
  const std::string uuid = "550e8400-e29b-41d4-a716-446655440000";
  qemu_.AddMonitor(Socket("vm1"), {.uuid = uuid});
  Start();
  ASSERT_TRUE(UntilAgentsKnown());
  Stop();
  Resume();
  ASSERT_EQ(watcher_->counters().handovers, 1u);
  IntentRequest request{.vm_name = "", .intent_id = "id-1", .ttl = absl::Minutes(10)};
  request.uuid = ParseUuid(uuid);
  watcher_->DeclareIntent(request, [](const absl::StatusOr<v1::Intent>&) {});
  Turn();
  EXPECT_EQ(sink_.Count(EventType::kIntentDeclared), 1);
}

TEST_F(HandoverTest, AMonitorInItsHandshakeIsNotHandedOver) {
  qemu_.AddMonitor(Socket("vm1"), {.greeting = ""});
  options_.greeting_timeout = absl::Milliseconds(1);
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 1));
  Stop();
  EXPECT_TRUE(handed_.empty());
}

}  // namespace
}  // namespace vmeventd
