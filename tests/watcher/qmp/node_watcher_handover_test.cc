#include <linux/connector.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/event_loop.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/machine_probe.h"
#include "tests/watcher/qmp/node_watcher_fixture.h"
#include "tests/watcher/runs/child.h"
#include "watcher/core/event_sink.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/proc_connector.h"
#include "watcher/runs/read_notes.h"
#include "watcher/runs/run_keeper.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

// A daemon that stops, and another one that goes on with what it hands over.
class HandoverTest : public RestartTest {
 protected:
  // Starts a daemon that follows vm1.
  int Follow(FakeQemu* qemu) {
    const int monitor = RestartTest::Follow(qemu);
    EXPECT_TRUE(UntilAgentsKnown());
    return monitor;
  }
  void Stop() {
    handed_ = watcher_->HandOver();
    const int exits = watcher_->exit_status_socket();
    if (exits >= 0) options_.handed_exits = std::make_shared<UniqueFd>(dup(exits));
    Die();
  }
  void GoOn() {
    options_.handed_runs = std::make_shared<std::vector<HandedRun>>(std::move(handed_));
    Restart();
    EXPECT_TRUE(UntilScanned());
  }
  // The daemon is handed over within `line`.
  void ReadInTwoParts(const std::string& line) {
    const int monitor = Follow(&qemu_);
    qemu_.Send(monitor, line);
    ASSERT_TRUE(UntilState("vm1", VmState::kPaused));
    qemu_.Send(monitor, EventLine("RESUME") + line.substr(0, 30));
    ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
    Stop();
    ASSERT_EQ(handed_.size(), 1u);
    EXPECT_EQ(handed_[0].monitor.unhandled.str(), line.substr(0, 30));
    qemu_.Send(monitor, line.substr(30));
    GoOn();
    EXPECT_TRUE(UntilState("vm1", VmState::kPaused));
  }

  std::vector<HandedRun> handed_;
};

TEST_F(HandoverTest, WhatItSaidMeanwhileIsReadOnce) {
  const int monitor = Follow(&qemu_);
  qemu_.Send(monitor, EventLine("STOP"));
  ASSERT_TRUE(UntilState("vm1", VmState::kPaused));
  Stop();
  qemu_.Send(monitor, EventLine("RESUME"));
  GoOn();
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  EXPECT_THAT(sink_.Types(),
              ElementsAre(EventType::kStarted, EventType::kPaused, EventType::kResumed));
}

TEST_F(HandoverTest, AnEndMeanwhileHasItsClass) {
  const int monitor = Follow(&qemu_);
  Stop();
  qemu_.SendAndExit(monitor, kGuestShutdownLine);
  qemu_.Reap();
  GoOn();
  ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  EXPECT_EQ(Stopped().shutdown_class, ShutdownClass::kUser);
  EXPECT_TRUE(FileExists(ShutdownFile("vm1")));
  EXPECT_THAT(EvidenceText(), Not(HasSubstr("started again")));
  EXPECT_THAT(sink_.Types(), ElementsAre(EventType::kStarted, EventType::kStopped));
}

TEST_F(HandoverTest, AKillMeanwhileIsUnknownAsWhoDidItWasNotRecorded) {
  Follow(&qemu_);
  Stop();
  qemu_.Kill(SIGKILL);
  GoOn();
  ExpectEnd(ShutdownClass::kUnknown);
  EXPECT_THAT(EvidenceText(), Not(HasSubstr("started again")));
  if (WhyNoExitStatus().empty()) {
    EXPECT_THAT(EvidenceText(), HasSubstr("vmeventd was being restarted when it was sent"));
  }
}

// Where the kernel says how a process ended in messages alone, as Linux does before 6.15.
class ConnectorHandoverTest : public HandoverTest {
 protected:
  void SetUp() override {
    const UniqueFd probe(socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_CONNECTOR));
    sockaddr_nl address{};
    address.nl_family = AF_NETLINK;
    address.nl_groups = CN_IDX_PROC;
    if (bind(probe.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
      GTEST_SKIP() << "this kernel has no process connector for this user";
    }
    options_.exit_status_source = ExitStatusSource::kProcConnector;
  }
};

TEST_F(ConnectorHandoverTest, ACrashMeanwhileIsACrash) {
  Follow(&qemu_);
  Stop();
  qemu_.Kill(SIGABRT);
  qemu_.Reap();
  GoOn();
  ExpectEnd(ShutdownClass::kCrash);
  EXPECT_THAT(EvidenceText(),
              HasSubstr("process gone while vmeventd was restarted; exit signal 6"));
}

TEST_F(ConnectorHandoverTest, SeveralEndsMeanwhileHaveTheirStatuses) {
  FakeQemu other;
  Follow(&qemu_);
  other.AddMonitor(Socket("vm2"));
  ASSERT_TRUE(UntilState("vm2", VmState::kRunning));
  Stop();
  ASSERT_THAT(handed_, SizeIs(2));
  qemu_.Kill(SIGABRT);
  other.Kill(SIGKILL);
  qemu_.Reap();
  other.Reap();
  GoOn();
  ASSERT_TRUE(UntilCount(EventType::kStopped, 2));
  std::vector<int> signals;
  for (const RecordingSink::Entry& entry : sink_.entries()) {
    const auto& event = entry.update.event;
    if (event.has_value() && event->type == EventType::kStopped) {
      signals.push_back(event->shutdown->exit_status->signal);
    }
  }
  EXPECT_THAT(signals, testing::UnorderedElementsAre(SIGABRT, SIGKILL));
}

TEST_F(ConnectorHandoverTest, AStatusThatWasReadBeforeTheStopCounts) {
  Follow(&qemu_);
  Stop();
  ASSERT_THAT(handed_, SizeIs(1));
  EXPECT_EQ(handed_[0].pid, qemu_.pid());
  handed_[0].wait_status = SIGABRT;
  qemu_.Kill(SIGKILL);
  qemu_.Reap();
  GoOn();
  ExpectEnd(ShutdownClass::kCrash);
}

TEST_F(ConnectorHandoverTest, OneThatIsHandedOverTwiceHasItsStatus) {
  Follow(&qemu_);
  Stop();
  GoOn();
  Stop();
  qemu_.Kill(SIGABRT);
  qemu_.Reap();
  GoOn();
  ExpectEnd(ShutdownClass::kCrash);
}

TEST_F(HandoverTest, ALineIsReadInTwoParts) { ReadInTwoParts(EventLine("STOP")); }

TEST_F(HandoverTest, AnObjectThatIsSpreadOverLinesIsReadInTwoParts) {
  ReadInTwoParts(Spread(EventLine("STOP")));
}

TEST_F(HandoverTest, OneThatIsHandedOverTwiceGoesOn) {
  const int monitor = Follow(&qemu_);
  const std::vector<std::string> asked = qemu_.Commands(monitor);
  for (int i = 0; i < 2; ++i) {
    Stop();
    ASSERT_THAT(handed_, SizeIs(1)) << i;
    GoOn();
    EXPECT_EQ(watcher_->counters().handovers, 1u) << i;
  }
  EXPECT_EQ(qemu_.Commands(monitor), asked);
  qemu_.SendAndExit(monitor, kGuestShutdownLine);
  ExpectEnd(ShutdownClass::kUser);
}

TEST_F(HandoverTest, AShutdownBeforeItCountsAfterIt) {
  const int monitor = Follow(&qemu_);
  qemu_.Send(monitor, kQuitLine);
  ASSERT_TRUE(UntilShutdownKept());
  Stop();
  ASSERT_THAT(handed_, SizeIs(1));
  EXPECT_TRUE(handed_[0].monitor.ending);
  qemu_.SendAndExit(monitor, kGuestShutdownLine);
  GoOn();
  ExpectEnd(ShutdownClass::kAdmin);
}

TEST_F(HandoverTest, AJournalThatSaysSomethingElseIsFollowedAsBefore) {
  const int monitor = Follow(&qemu_);
  Stop();
  ASSERT_THAT(handed_, SizeIs(1));
  ++handed_[0].saved;
  qemu_.Send(monitor, EventLine("STOP"));
  qemu_.SetBehavior(monitor, {.status = "paused"});
  GoOn();
  EXPECT_EQ(watcher_->counters().handovers, 0u);
  EXPECT_EQ(watcher_->counters().handovers_refused, 1u);
  ASSERT_TRUE(UntilState("vm1", VmState::kPaused));
  EXPECT_THAT(sink_.Types(), ElementsAre(EventType::kStarted, EventType::kGap, EventType::kPaused));
}

TEST_F(HandoverTest, ARunThatNobodyKnowsIsClosed) {
  const int monitor = Follow(&qemu_);
  Stop();
  options_.handed_runs = std::make_shared<std::vector<HandedRun>>(std::move(handed_));
  StartUntilScanned({});
  EXPECT_EQ(watcher_->counters().handovers_refused, 1u);
  // QEMU serves the new connection, as the old one has ended.
  EXPECT_TRUE(Until([&] { return qemu_.Commands(monitor).size() > 1; }));
}

TEST_F(HandoverTest, TheProcessOfAnotherVmIsNotTaken) {
  FakeQemu other;
  Follow(&qemu_);
  other.AddMonitor(Socket("vm2"));
  ASSERT_TRUE(UntilState("vm2", VmState::kRunning));
  Stop();
  ASSERT_THAT(handed_, SizeIs(2));
  std::swap(handed_[0].process, handed_[1].process);
  GoOn();
  EXPECT_EQ(watcher_->counters().handovers, 0u);
  EXPECT_EQ(watcher_->counters().handovers_refused, 2u);
}

TEST_F(HandoverTest, ASocketThatIsWatchedNoLongerIsLeftToOthers) {
  const int monitor = Follow(&qemu_);
  Stop();
  directory_.MakeDirectory("elsewhere");
  options_.watches = {Spec("elsewhere")};
  GoOn();
  EXPECT_EQ(watcher_->counters().handovers_refused, 1u);
  EXPECT_TRUE(Until([&] { return !qemu_.HasClient(monitor); }));
}

TEST_F(HandoverTest, AnUntrackedRunGoesOn) {
  options_.process_tracking = false;
  const int monitor = Follow(&qemu_);
  Stop();
  ASSERT_THAT(handed_, SizeIs(1));
  EXPECT_FALSE(handed_[0].process.valid());
  qemu_.SendAndExit(monitor, kGuestShutdownLine);
  GoOn();
  ExpectEnd(ShutdownClass::kUser);
}

TEST_F(HandoverTest, AMonitorInItsHandshakeIsNotHandedOver) {
  qemu_.AddMonitor(Socket("vm1"), {.greeting = ""});
  options_.greeting_timeout = absl::Milliseconds(1);
  Start();
  ASSERT_TRUE(UntilCount(EventType::kStarted, 1));
  Stop();
  EXPECT_TRUE(handed_.empty());
}

// As server/kept_runs.h.
class TestKeeper : public RunKeeper {
 public:
  explicit TestKeeper(bool has_notes) {
    if (!has_notes) return;
    memory_.resize(ReadNotes::BytesFor(kLimits));
    notes_.emplace(absl::MakeSpan(memory_), kLimits, kOwner);
  }
  std::unique_ptr<ReadNotes::Stream> Keep(const std::string& run_id,
                                          const Descriptors& descriptors) override {
    HandedRun& run = runs_[run_id];
    run.after_crash = true;
    run.run_id = run_id;
    run.socket_owner = descriptors.socket_owner;
    run.connection = UniqueFd(dup(descriptors.connection));
    run.process = UniqueFd(descriptors.process < 0 ? -1 : dup(descriptors.process));
    serials_[run_id] = ++last_serial_;
    return notes_.has_value() ? notes_->Open(last_serial_) : nullptr;
  }
  void Forget(const std::string& run_id) override {
    if (!remembers_) runs_.erase(run_id);
  }
  void EndTurn(const SinkProgress& progress) override {
    if (notes_.has_value()) notes_->EndTurn(progress);
  }
  ReadNotes* notes() override { return notes_.has_value() ? &*notes_ : nullptr; }

  // What a crash leaves.
  std::vector<HandedRun> Take() {
    absl::flat_hash_map<uint64_t, NotedReads> noted;
    if (notes_.has_value()) {
      noted = ReadNotes::ReadBack({memory_.data(), memory_.size()}, kOwner).value();
    }
    std::vector<HandedRun> all;
    for (auto& [run_id, run] : runs_) {
      const auto of = noted.find(serials_[run_id]);
      if (of != noted.end()) run.noted = of->second;
      all.push_back(std::move(run));
    }
    return all;
  }

  std::map<std::string, HandedRun> runs_;
  bool remembers_ = false;  // what is forgotten is in the parcel still

 private:
  static constexpr ReadNotes::Limits kLimits{.runs = 8, .blocks = 1000};
  static constexpr uint64_t kOwner = 1;

  std::map<std::string, uint64_t> serials_;
  uint64_t last_serial_ = 0;
  std::vector<char> memory_;
  std::optional<ReadNotes> notes_;
};

// A daemon that is killed, and another one that goes on with what was kept of it.
class CrashTest : public HandoverTest {
 protected:
  CrashTest() { NewKeeper(); }

  void NewKeeper() {
    keeper_ = std::make_shared<TestKeeper>(has_notes_);
    options_.keeper = keeper_;
  }
  // What was published so far was committed.
  void Crash() {
    saved_ = KeptTexts();
    CrashUncommitted();
  }
  // The same, where nothing since the last call of Commit() was.
  void CrashUncommitted() {
    handed_ = keeper_->Take();
    dead_.push_back(std::move(watcher_));  // closes nothing, and does nothing any more
    NewKeeper();
  }
  void Commit() {
    sink_.HoldCommits();
    saved_ = KeptTexts();
  }
  void GoOnAfterCrash() {
    options_.handed_runs = std::make_shared<std::vector<HandedRun>>(std::move(handed_));
    StartWith(saved_);
    EXPECT_TRUE(UntilScanned());
  }

  // It crashes within `line`, of which the next daemon gets the rest.
  void LeaveOutTheRestOf(const std::string& line, int monitor) {
    qemu_.Send(monitor, EventLine("SUSPEND") + line.substr(0, 30));
    ASSERT_TRUE(UntilState("vm1", VmState::kSuspended));
    Crash();
    qemu_.Send(monitor, line.substr(30) + EventLine("WAKEUP"));
    GoOnAfterCrash();
    EXPECT_TRUE(UntilState("vm1", VmState::kRunning));
    EXPECT_EQ(watcher_->counters().protocol_errors, 0u);
  }

  bool has_notes_ = false;
  std::shared_ptr<TestKeeper> keeper_;
  std::vector<std::string> saved_;
  std::vector<std::unique_ptr<NodeWatcher>> dead_;
};

TEST_F(CrashTest, TheNextDaemonGoesOnWithoutAHandshake) {
  const int monitor = Follow(&qemu_);
  const size_t asked = qemu_.Commands(monitor).size();
  Crash();
  GoOnAfterCrash();
  EXPECT_EQ(watcher_->counters().handovers, 1u);
  ASSERT_TRUE(Until([&] { return qemu_.Commands(monitor).size() > asked; }));
  qemu_.Send(monitor, EventLine("STOP"));
  ASSERT_TRUE(UntilState("vm1", VmState::kPaused));
  const std::vector<std::string> commands = qemu_.Commands(monitor);
  EXPECT_THAT(commands[asked], HasSubstr("query-status"));
  for (size_t i = asked; i < commands.size(); ++i) {
    EXPECT_THAT(commands[i], Not(HasSubstr("qmp_capabilities")));
  }
  EXPECT_THAT(sink_.Types(), ElementsAre(EventType::kStarted, EventType::kPaused));
  EXPECT_THAT(keeper_->runs_, SizeIs(1));
}

TEST_F(CrashTest, WhatWasReadAndNotCommittedIsFoundByItsState) {
  const int monitor = Follow(&qemu_);
  Commit();
  qemu_.Send(monitor, EventLine("STOP"));
  ASSERT_TRUE(UntilState("vm1", VmState::kPaused));
  qemu_.SetBehavior(monitor, {.status = "paused"});
  CrashUncommitted();
  GoOnAfterCrash();
  ASSERT_TRUE(UntilCount(EventType::kGap, 1));
  ASSERT_TRUE(UntilCount(EventType::kPaused, 2));
}

TEST_F(CrashTest, AnEndThatWasReadAndNotCommittedIsUnknown) {
  const int monitor = Follow(&qemu_);
  Commit();
  qemu_.Send(monitor, kQuitLine);
  ASSERT_TRUE(UntilShutdownKept());
  CrashUncommitted();
  qemu_.SendAndExit(monitor, EventLine("STOP"));
  qemu_.Reap();
  GoOnAfterCrash();
  ExpectEnd(ShutdownClass::kUnknown);
}

TEST_F(CrashTest, OfAnEndThatWasReadAndNotCommittedTheFileIsLeft) {
  const int monitor = Follow(&qemu_);
  Commit();
  // What is forgotten may be in the parcel still.
  std::map<std::string, HandedRun> kept = std::exchange(keeper_->runs_, {});
  qemu_.SendAndExit(monitor, kGuestShutdownLine);
  ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  ASSERT_TRUE(FileExists(ShutdownFile("vm1")));
  CrashUncommitted();
  for (auto& [run_id, run] : kept) handed_.push_back(std::move(run));
  GoOnAfterCrash();
  ASSERT_TRUE(UntilCount(EventType::kStopped, 2));
  EXPECT_EQ(LastClass(), ShutdownClass::kUser);
}

TEST_F(CrashTest, TheRestOfALineIsLeftOut) {
  const int monitor = Follow(&qemu_);
  LeaveOutTheRestOf(EventLine("STOP"), monitor);
  qemu_.Send(monitor, "no JSON\r\n");
  EXPECT_TRUE(Until([&] { return watcher_->counters().protocol_errors == 1; }));
}

TEST_F(CrashTest, TheRestOfAnObjectThatIsSpreadOverLinesIsLeftOut) {
  LeaveOutTheRestOf(Spread(EventLine("STOP")), Follow(&qemu_));
}

TEST_F(CrashTest, AnAnswerToTheDaemonBeforeIsNone) {
  const int monitor = Follow(&qemu_);
  Crash();
  qemu_.Send(monitor, "{\"return\": []}\r\n{\"error\": {\"class\": \"x\", \"desc\": \"y\"}}\r\n");
  qemu_.SetBehavior(monitor, {.status = "paused"});
  GoOnAfterCrash();
  EXPECT_TRUE(UntilState("vm1", VmState::kPaused));
  EXPECT_TRUE(HasProblem("vm1", ""));
}

TEST_F(CrashTest, AMonitorThatIsClosedIsClosedForQemuToo) {
  const int monitor = FollowWithManualClock();
  ASSERT_THAT(keeper_->runs_, SizeIs(1));
  const UniqueFd another(dup(keeper_->runs_.begin()->second.connection.get()));
  qemu_.Send(monitor, "no JSON\r\n");
  EXPECT_TRUE(UntilInTime([&] { return Handshakes(qemu_, monitor) == 2; }));
  EXPECT_TRUE(Until([&] { return keeper_->runs_.size() == 1; }));
}

// The same, where what is read is noted.
class NotedCrashTest : public CrashTest {
 protected:
  NotedCrashTest() {
    has_notes_ = true;
    NewKeeper();
  }

  void CrashWithin(const std::string& line) {
    const int monitor = Follow(&qemu_);
    qemu_.Send(monitor, EventLine("SUSPEND") + line.substr(0, 30));
    ASSERT_TRUE(UntilState("vm1", VmState::kSuspended));
    Crash();
    qemu_.Send(monitor, line.substr(30));
    GoOnAfterCrash();
    EXPECT_TRUE(UntilState("vm1", VmState::kPaused));
    EXPECT_EQ(watcher_->counters().protocol_errors, 0u);
  }
};

TEST_F(NotedCrashTest, WhatWasReadAndNotCommittedIsHandledOnce) {
  const int monitor = Follow(&qemu_);
  Commit();
  qemu_.Send(monitor, EventLine("STOP"));
  ASSERT_TRUE(UntilState("vm1", VmState::kPaused));
  CrashUncommitted();
  qemu_.Send(monitor, EventLine("RESUME"));
  GoOnAfterCrash();
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  EXPECT_EQ(watcher_->counters().handovers, 1u);
  EXPECT_EQ(watcher_->counters().handovers_incomplete, 0u);
  EXPECT_THAT(sink_.Types(), ElementsAre(EventType::kStarted, EventType::kPaused,
                                         EventType::kPaused, EventType::kResumed));
}

TEST_F(NotedCrashTest, WhatWasCommittedIsNotRepeated) {
  const int monitor = Follow(&qemu_);
  sink_.HoldCommits();
  qemu_.Send(monitor, EventLine("STOP"));
  ASSERT_TRUE(UntilState("vm1", VmState::kPaused));
  Crash();  // it is in the journal, and this daemon has not heard so
  qemu_.Send(monitor, EventLine("RESUME"));
  GoOnAfterCrash();
  ASSERT_TRUE(UntilState("vm1", VmState::kRunning));
  EXPECT_EQ(watcher_->counters().handovers_incomplete, 0u);
  EXPECT_THAT(sink_.Types(),
              ElementsAre(EventType::kStarted, EventType::kPaused, EventType::kResumed));
}

TEST_F(NotedCrashTest, AnEndThatWasReadAndNotCommittedHasItsClass) {
  const int monitor = Follow(&qemu_);
  Commit();
  qemu_.Send(monitor, EventLine("POWERDOWN") + kGuestShutdownLine);
  ASSERT_TRUE(UntilShutdownKept());
  CrashUncommitted();
  qemu_.SendAndExit(monitor, "");
  qemu_.Reap();
  GoOnAfterCrash();
  ExpectEnd(ShutdownClass::kAdmin);
  EXPECT_THAT(EvidenceText(), Not(HasSubstr("may be missing")));
  EXPECT_THAT(EvidenceText(), Not(HasSubstr("started again")));
}

TEST_F(NotedCrashTest, AnEndWithoutAWordIsACrash) {
  Follow(&qemu_);
  Crash();
  qemu_.Kill(SIGABRT);
  GoOnAfterCrash();
  ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  const bool known = WhyNoExitStatus().empty();
  EXPECT_EQ(LastClass(), known ? ShutdownClass::kCrash : ShutdownClass::kUnknown);
  EXPECT_EQ(watcher_->counters().handovers_incomplete, 0u);
}

TEST_F(NotedCrashTest, ALineIsReadInTwoParts) { CrashWithin(EventLine("STOP")); }

TEST_F(NotedCrashTest, AnObjectThatIsSpreadOverLinesIsReadInTwoParts) {
  CrashWithin(Spread(EventLine("STOP")));
}

TEST_F(NotedCrashTest, AnEndThatWasHandledAndNotCommittedHasItsClass) {
  const int monitor = Follow(&qemu_);
  Commit();
  keeper_->remembers_ = true;
  qemu_.SendAndExit(monitor, EventLine("POWERDOWN") + kGuestShutdownLine);
  ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  qemu_.Reap();
  CrashUncommitted();
  GoOnAfterCrash();
  ASSERT_TRUE(UntilCount(EventType::kStopped, 2));
  EXPECT_EQ(LastClass(), ShutdownClass::kAdmin);
  EXPECT_EQ(watcher_->counters().handovers_incomplete, 0u);
}

TEST_F(NotedCrashTest, TheNotesOfAnEndThatIsCommittedAreGone) {
  const int monitor = Follow(&qemu_);
  ASSERT_EQ(keeper_->notes()->size(), 1u);
  qemu_.SendAndExit(monitor, kQuitLine);
  ASSERT_TRUE(UntilCount(EventType::kStopped, 1));
  EXPECT_TRUE(Until([&] { return keeper_->notes()->size() == 0; }));
}

// Events that are no evidence, and change nothing that is saved.
TEST_F(NotedCrashTest, WhatChangesNothingIsForgottenAndNotMissed) {
  const int monitor = Follow(&qemu_);
  const uint64_t pushed = sink_.entries().size();
  for (int i = 0; i < 200; ++i) qemu_.Send(monitor, EventLine("RTC_CHANGE", "{\"offset\": 1}"));
  ASSERT_TRUE(Until([&] { return keeper_->notes()->used_blocks() == 0; }));
  EXPECT_EQ(sink_.entries().size(), pushed);
  Crash();
  qemu_.SendAndExit(monitor, kQuitLine);
  GoOnAfterCrash();
  ExpectEnd(ShutdownClass::kAdmin);
  EXPECT_EQ(watcher_->counters().handovers_incomplete, 0u);
}

TEST_F(NotedCrashTest, AnOlderJournalThanTheNotesIsNotTakenForTheirs) {
  const int monitor = Follow(&qemu_);
  saved_ = KeptTexts();
  qemu_.Send(monitor, EventLine("STOP"));
  ASSERT_TRUE(UntilState("vm1", VmState::kPaused));
  CrashUncommitted();  // the sink said that it was committed
  qemu_.SetBehavior(monitor, {.status = "paused"});
  GoOnAfterCrash();
  EXPECT_EQ(watcher_->counters().handovers_incomplete, 1u);
  EXPECT_TRUE(UntilCount(EventType::kGap, 1));
}

TEST_F(NotedCrashTest, ACrashFollowsAStop) {
  const int monitor = Follow(&qemu_);
  const std::string line = EventLine("STOP");
  qemu_.Send(monitor, EventLine("SUSPEND") + line.substr(0, 30));
  ASSERT_TRUE(UntilState("vm1", VmState::kSuspended));
  Stop();
  NewKeeper();
  GoOn();
  Crash();
  qemu_.Send(monitor, line.substr(30));
  GoOnAfterCrash();
  EXPECT_EQ(watcher_->counters().handovers_incomplete, 0u);
  EXPECT_TRUE(UntilState("vm1", VmState::kPaused));
}

TEST(HandedRunTest, IsReadAsItWasWritten) {
  HandedRun run;
  run.run_id = "run";
  run.saved = ~uint64_t{0};
  run.pid = 7;
  run.wait_status = 0;
  run.session.poll_at = absl::Seconds(3);
  run.session.file_written = true;
  run.monitor = {.unhandled = SharedText(absl::string_view("\xff\0{", 3)),
                 .speaker_pid = 7,
                 .speaker_uid = 1000,
                 .answer_due = true,
                 .ending = true,
                 .status_wanted = true,
                 .agent_wanted = true};
  run.socket_owner = ~0U;
  const std::string text = WriteHandedRun(run);
  const absl::StatusOr<HandedRun> read = ReadHandedRun(text);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(read->wait_status, 0);
  EXPECT_EQ(read->monitor.unhandled.str(), run.monitor.unhandled.str());
  EXPECT_EQ(read->session.last_reset, -absl::InfiniteDuration());
  EXPECT_EQ(WriteHandedRun(*read), text);
}

TEST(HandedRunTest, AnythingElseIsRefused) {
  for (const char* text : {"", "{}", "[]", "{\"run_id\":1}"}) {
    EXPECT_FALSE(ReadHandedRun(text).ok()) << text;
  }
  HandedRun run;
  run.monitor.unhandled = std::string(HandedMonitor::kMaxUnhandled + 1, 'x');
  EXPECT_FALSE(ReadHandedRun(WriteHandedRun(run)).ok());
}

}  // namespace
}  // namespace vmeventd
