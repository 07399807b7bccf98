// The runs of a source that is not QMP's: what RunTable and RestoreRuns ask of any source.

#include "watcher/runs/run_table.h"

#include <csignal>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/event_loop.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/machine_probe.h"
#include "tests/support/problem_texts.h"
#include "tests/support/test_util.h"
#include "tests/watcher/runs/exit_message.h"
#include "watcher/node/intent_requests.h"
#include "watcher/runs/exit_status_reader.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/oom_counters.h"
#include "watcher/runs/process.h"
#include "watcher/runs/process_watch.h"
#include "watcher/runs/run_context.h"
#include "watcher/runs/run_restorer.h"
#include "watcher/runs/vm_run.h"
#include "watcher/runs/watcher_options.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kText[] = "550e8400-e29b-41d4-A716-446655440000";

// A run whose monitor is a test.
class FakeRun : public VmRun {
 public:
  using VmRun::VmRun;
  void BecomeReady() { Hand(input::MonitorReady{{"7.2", "running", "", ""}}); }

  bool connected() const override { return true; }
  std::optional<HandedRun> HandOver() override {
    HandedRun handed;
    HandOverTo(&handed);
    return handed;
  }
  bool ResumeFrom(HandedRun*) override { return false; }
  void ReadNow() override { restored = true; }
  int agent_questions = 0;
  int process_ends = 0;
  bool disconnected = false;
  bool restored = false;

 private:
  void OnProcessGone() override {
    ++process_ends;
    process().AwaitEnd();
  }
  void Ask(Question question) override { agent_questions += question == Question::kGuestAgent; }
  void Disconnect() override { disconnected = true; }
};

class RunTableTest : public testing::Test, public RunSource {
 protected:
  RunTableTest() {
    context_.options = &watcher_options_;
    context_.loop = loop_.get();
    context_.exit_statuses = exit_statuses_.get();
    context_.oom_counters = &oom_counters_;
    context_.signals = &signals_;
    context_.host = &host_;
    context_.boot_id = "run";
    context_.max_vm_descriptors = 100;
  }

  void Start() override {}
  bool first_scan_done() const override { return true; }
  void EndTurn() override {}
  void Restore(VmSession session) override {
    table_.Add(this, std::make_unique<FakeRun>(&context_, &table_, std::move(session)));
  }
  bool is_open() const override { return true; }
  std::vector<ServiceHealth> Health() const override { return {}; }
  void Describe(v1::GetServerInfoResponse*) const override {}
  void Counters(WatcherCounters*) const override {}
  void OnOver(VmRun* run) override { over_.emplace_back(run->info().name); }

  RunInfo Info(const std::string& name, const std::string& run_id) const {
    RunInfo info;
    info.name = info.raw_name = name;
    info.run_id = run_id;
    info.source_key = "test";
    info.monitor_path = info.raw_path = directory_.Path(name + ".sock");
    info.process_tracked = false;
    return info;
  }
  void Declare(VmRun* run) const {
    v1::Intent intent;
    intent.set_intent_id("intent-1");
    *intent.mutable_expire_time() = ToTimestamp(clock_.Now().wall + absl::Hours(1));
    run->DeclareIntent(intent, [] {});
  }
  FakeRun* Add(const std::string& name, const std::string& run_id) {
    return Add(Info(name, run_id));
  }
  FakeRun* Add(RunInfo info) {
    auto run = std::make_unique<FakeRun>(&context_, &table_,
                                         VmSession(std::move(info), &options_, clock_.Now()));
    FakeRun* const added = run.get();
    table_.Add(this, std::move(run));
    added->BecomeReady();
    return added;
  }
  std::vector<std::string> ProblemsOf(const std::string& name) const {
    return ProblemTexts(sink_.Latest(name)->problems());
  }
  void Restore(std::vector<std::string> saved) {
    RestoreRuns(&context_, &table_, {{"test", this}}, saved, {});
  }

  TempDir directory_;
  ManualClock clock_;
  RecordingSink sink_;
  SessionOptions options_;
  std::unique_ptr<EventLoop> loop_ = EventLoop::Create(&clock_).value();
  std::unique_ptr<ExitStatusReader> exit_statuses_ =
      ExitStatusReader::Create(loop_.get(), ExitStatusSource::kNone);
  OomCounters oom_counters_{directory_.path()};
  SignalWatch signals_{loop_.get(), {}};
  HostWatch host_{loop_.get(), nullptr, ""};
  const WatcherOptions watcher_options_;
  RunContext context_;
  RunTable table_{&sink_, &context_.meters};
  std::vector<std::string> over_;
};

TEST_F(RunTableTest, ARunIsFoundByAllThatNamesIt) {
  FakeRun* const run = Add("vm1", "run-1");
  FakeRun* const other = Add("vm1", "run-2");
  EXPECT_EQ(table_.Find("run-1"), run);
  EXPECT_EQ(table_.Find("run-3"), nullptr);
  EXPECT_THAT(table_.Named("vm1"), testing::UnorderedElementsAre(run, other));
  Declare(run);
  EXPECT_EQ(table_.FindByIntent("intent-1"), run);
  EXPECT_EQ(run->agent_questions, 1);
}

TEST_F(RunTableTest, ARunThatIsOverLeavesItAtOnceAndIsDestroyedLater) {
  FakeRun* const run = Add("vm1", "run-1");
  Declare(run);
  run->End();
  EXPECT_TRUE(run->disconnected);
  EXPECT_THAT(over_, ElementsAre("vm1"));
  EXPECT_EQ(table_.Find("run-1"), nullptr);
  EXPECT_THAT(table_.Named("vm1"), IsEmpty());
  EXPECT_EQ(table_.FindByIntent("intent-1"), nullptr);
  EXPECT_EQ(sink_.Count(EventType::kStopped), 1);
  table_.EndTurn();
}

// The listener that a run was taken for may end in the turn in which QEMU is found to be another
// process.
TEST_F(RunTableTest, ARunThatIsDiscardedLetsGoOfItsProcessAtOnce) {
  FakeQemu listener;
  FakeRun* const run = Add("vm1", "run-1");
  ASSERT_TRUE(run->Track(IdentifyByPid(listener.pid()).value()).ok());
  run->Discard();
  EXPECT_FALSE(run->followed());
  listener.Kill(SIGKILL);
  for (int i = 0; i < 20; ++i) loop_->RunOnce(absl::Milliseconds(10));
  EXPECT_EQ(run->process_ends, 0);
}

// A helper of QEMU's that was killed weeks before does not make an admin's kill a crash.
TEST_F(RunTableTest, AKillForMemoryIsTheRunsOwnIfItIsCountedAsTheRunEnds) {
  const auto count = [&](int kills) {
    std::ofstream(directory_.Path("memory.events")) << "oom_kill " << kills << "\n";
  };
  for (const bool own : {false, true}) {
    FakeQemu qemu;
    count(0);
    RunInfo info = Info("vm1", own ? "run-1" : "run-2");
    info.process_tracked = true;
    info.pid = qemu.pid();
    info.oom_file = "/memory.events";
    FakeRun* const run = Add(std::move(info));
    ASSERT_TRUE(run->Track(IdentifyByPid(qemu.pid()).value()).ok());
    if (!own) count(1);
    Declare(run);
    if (own) count(1);
    const int ends = sink_.Count(EventType::kStopped);
    qemu.Kill(SIGKILL);
    ASSERT_TRUE(StepUntil([&] { loop_->RunOnce(absl::Milliseconds(10)); },
                          [&] { return sink_.Count(EventType::kStopped) > ends; }));
    EXPECT_EQ(sink_.Last(EventType::kStopped)->update.event->shutdown().shutdown_class(),
              own ? ShutdownClass::kCrash : ShutdownClass::kAdmin);
  }
}

// Several VMs may have one cgroup.
TEST_F(RunTableTest, AKillForMemoryOfOneRunIsNotAnothersToo) {
  const auto count = [&](int kills) {
    std::ofstream(directory_.Path("memory.events")) << "oom_kill " << kills << "\n";
  };
  FakeQemu first;
  FakeQemu second;
  count(0);
  for (const FakeQemu* const qemu : {&first, &second}) {
    RunInfo info = Info(qemu == &first ? "vm1" : "vm2", qemu == &first ? "run-1" : "run-2");
    info.process_tracked = true;
    info.pid = qemu->pid();
    info.oom_file = "/memory.events";
    ASSERT_TRUE(Add(std::move(info))->Track(IdentifyByPid(qemu->pid()).value()).ok());
  }
  count(1);
  const auto class_of_end = [&](FakeQemu* qemu) {
    const int ends = sink_.Count(EventType::kStopped);
    qemu->Kill(SIGKILL);
    EXPECT_TRUE(StepUntil([&] { loop_->RunOnce(absl::Milliseconds(10)); },
                          [&] { return sink_.Count(EventType::kStopped) > ends; }));
    return sink_.Last(EventType::kStopped)->update.event->shutdown().shutdown_class();
  };
  EXPECT_EQ(class_of_end(&first), ShutdownClass::kCrash);
  EXPECT_EQ(class_of_end(&second), ShutdownClass::kUnknown);
}

// Each makes two events, which no limit of events holds back.
TEST_F(RunTableTest, SoManyIntentsAreDeclaredOnANodeAndNoMore) {
  options_.event_limits = false;  // nor one of the run's
  FakeRun* const run = Add("vm1", "run-1");
  IntentRequests intents(loop_.get(), &table_, &sink_, true);
  const auto declare = [&] {
    absl::Status said = absl::UnknownError("not called");
    intents.Declare({"vm1", "run-1", "id", "ops", "why", absl::Minutes(10), ""},
                    [&said](const absl::StatusOr<v1::Intent>& intent) { said = intent.status(); });
    intents.Handle();
    if (run->session().open_intent() != nullptr) {
      sink_.entries().back().update.on_public();
      run->WithdrawIntent([] {});
    }
    return said;
  };
  for (int i = 0; i < kNodeIntents.burst; ++i) ASSERT_TRUE(declare().ok()) << i;
  EXPECT_TRUE(absl::IsResourceExhausted(declare()));
  clock_.Advance(absl::Seconds(1));
  for (int i = 0; i < kNodeIntents.per_second; ++i) EXPECT_TRUE(declare().ok());
  EXPECT_TRUE(absl::IsResourceExhausted(declare()));
}

// The connector reports an end once, and maybe before the process's end is noticed.
TEST_F(RunTableTest, AnExitStatusThatWasReadIsHandedOver) {
  if (const std::string why = WhyNoProcConnector(); !why.empty()) GTEST_SKIP() << why;
  exit_statuses_ = ExitStatusReader::Create(loop_.get(), ExitStatusSource::kProcConnector);
  context_.exit_statuses = exit_statuses_.get();
  FakeQemu qemu;
  RunInfo info = Info("vm1", "run-1");
  info.process_tracked = true;
  info.pid = qemu.pid();
  FakeRun* const run = Add(std::move(info));
  ASSERT_TRUE(run->Track(IdentifyByPid(qemu.pid()).value()).ok());
  exit_statuses_->OnMessage(ExitMessage(qemu.pid(), SIGABRT));
  const HandedRun handed = run->HandOver().value();
  EXPECT_EQ(handed.state.run_id(), "run-1");
  EXPECT_EQ(handed.state.pid(), qemu.pid());
  ASSERT_TRUE(handed.state.has_wait_status());
  EXPECT_EQ(handed.state.wait_status(), SIGABRT);
  EXPECT_TRUE(handed.process.valid());
  run->Discard();
}

// Its QEMU may come to another socket meanwhile.
TEST_F(RunTableTest, ARestoredRunIsFoundByItsProcessWithoutADescriptor) {
  FakeQemu qemu;
  const PeerProcess process = IdentifyByPid(qemu.pid()).value();
  RunInfo info = Info("vm1", "run-1");
  info.process_tracked = true;
  info.SetProcess(DescribeProcess(process, nullptr));
  FakeRun* const run = Add(std::move(info));
  const std::string saved = run->session().Save();
  run->Discard();
  table_.EndTurn();
  context_.max_vm_descriptors = 0;
  Restore({saved});
  VmRun* const restored = table_.Find("run-1");
  ASSERT_NE(restored, nullptr);
  ASSERT_FALSE(restored->followed());
  EXPECT_EQ(restored->session().Status().problems(0).code(), v1::PROBLEM_CODE_OUT_OF_DESCRIPTORS);
  EXPECT_EQ(table_.FindByProcess(process), restored);
  const FakeQemu other;
  EXPECT_EQ(table_.FindByProcess(IdentifyByPid(other.pid()).value()), nullptr);
}

TEST_F(RunTableTest, SharedUuidsAreReportedOnceAllRunsAreKnown) {
  table_.SetUuid(Add("vm1", "run-1"), kText);
  FakeRun* const second = Add("vm2", "run-2");
  table_.SetUuid(second, kText);
  EXPECT_THAT(ProblemsOf("vm1"), IsEmpty());
  table_.ReportSharedUuids();
  EXPECT_THAT(ProblemsOf("vm1"), ElementsAre(HasSubstr("the running VM vm2")));
  second->End();
  EXPECT_THAT(ProblemsOf("vm1"), IsEmpty());
}

TEST_F(RunTableTest, TwoUsersOfAUuidNameEachOtherAndMoreAreSeveral) {
  table_.ReportSharedUuids();
  std::vector<FakeRun*> runs;
  for (const char* number : {"1", "2", "3", "4"}) {
    runs.push_back(Add(absl::StrCat("vm", number), absl::StrCat("run-", number)));
  }
  const auto others_are_several = ElementsAre(HasSubstr("several other running VMs"));
  for (const int i : {0, 1}) table_.SetUuid(runs[i], kText);
  EXPECT_THAT(ProblemsOf("vm1"), ElementsAre(HasSubstr("the running VM vm2")));
  EXPECT_THAT(ProblemsOf("vm2"), ElementsAre(HasSubstr("the running VM vm1")));
  table_.SetUuid(runs[2], kText);
  for (const char* name : {"vm1", "vm2", "vm3"}) EXPECT_THAT(ProblemsOf(name), others_are_several);
  const size_t published = sink_.entries().size();
  table_.SetUuid(runs[3], kText);
  EXPECT_EQ(sink_.entries().size(), published + 1) << "a fourth changes nothing for the others";
  EXPECT_THAT(ProblemsOf("vm4"), others_are_several);
  EXPECT_THAT(table_.WithUuid(*ParseUuid(kText)), ElementsAre(runs[0], runs[1], runs[2], runs[3]));
  table_.SetUuid(runs[3], kText);
  EXPECT_EQ(sink_.entries().size(), published + 1) << "it has that UUID already";

  table_.SetUuid(runs[3], "");
  EXPECT_THAT(ProblemsOf("vm4"), IsEmpty());
  EXPECT_EQ(sink_.entries().size(), published + 2) << "three are several as well";
  runs[2]->End();
  EXPECT_THAT(ProblemsOf("vm1"), ElementsAre(HasSubstr("the running VM vm2")));
  EXPECT_THAT(ProblemsOf("vm2"), ElementsAre(HasSubstr("the running VM vm1")));
  table_.SetUuid(runs[1], "550e8400-e29b-41d4-a716-446655440001");
  EXPECT_THAT(ProblemsOf("vm1"), IsEmpty());
  EXPECT_THAT(ProblemsOf("vm2"), IsEmpty());
}

TEST_F(RunTableTest, ARunThatADaemonLeftResumesOrEndsWhateverItsSource) {
  const std::string saved = Add("vm1", "run-1")->session().Save();
  FakeRun* const other = Add("vm2", "run-2");
  const std::string rebooted = absl::StrReplaceAll(other->session().Save(), {{"run-2", "old-2"}});
  for (const char* id : {"run-1", "run-2"}) table_.Find(id)->End();
  table_.EndTurn();
  const int ends = sink_.Count(EventType::kStopped);
  Restore({saved, rebooted, saved, "no run"});
  ASSERT_NE(table_.Find("run-1"), nullptr);
  EXPECT_TRUE(static_cast<FakeRun*>(table_.Find("run-1"))->restored);
  EXPECT_EQ(table_.Find("old-2"), nullptr);
  EXPECT_EQ(sink_.Count(EventType::kStopped), ends + 1);
  EXPECT_EQ(context_.meters.unreadable_runs.value(), 2u) << "one twice, one that is none";
}

TEST_F(RunTableTest, ARunOfAnUnknownSourceIsDropped) {
  const std::string saved = Add("vm1", "run-1")->session().Save();
  table_.Find("run-1")->End();
  table_.EndTurn();
  EXPECT_FALSE(RestoreRuns(&context_, &table_, {{"other", this}}, {saved}, {}));
  EXPECT_EQ(table_.Find("run-1"), nullptr);
  EXPECT_EQ(context_.meters.unreadable_runs.value(), 1u);
}

TEST_F(RunTableTest, AnUnknownBootIdDoesNotCountAsAReboot) {
  const std::string saved = Add("vm1", "run-1")->session().Save();
  const std::string unknown = absl::StrReplaceAll(saved, {{"run-1", "-1234"}});
  table_.Find("run-1")->End();
  table_.EndTurn();
  const int ends = sink_.Count(EventType::kStopped);
  Restore({unknown});
  EXPECT_NE(table_.Find("-1234"), nullptr) << "it began when the boot's id could not be read";
  context_.boot_id = "";
  Restore({saved});
  EXPECT_NE(table_.Find("run-1"), nullptr);
  EXPECT_EQ(sink_.Count(EventType::kStopped), ends);
}

TEST(ParseUuidTest, ReadsBothCases) {
  EXPECT_EQ(ParseUuid(kText), Uuid(0x550e8400e29b41d4, 0xa716446655440000));
}

TEST(ParseUuidTest, RefusesOtherText) {
  EXPECT_EQ(ParseUuid(""), std::nullopt);
  EXPECT_EQ(ParseUuid("550e8400-e29b-41d4-a716-44665544000"), std::nullopt);
  EXPECT_EQ(ParseUuid("550e8400-e29b-41d4-a716-44665544000g"), std::nullopt);
  EXPECT_EQ(ParseUuid("550e8400ee29b-41d4-a716-446655440000"), std::nullopt);
}

}  // namespace
}  // namespace vmeventd
