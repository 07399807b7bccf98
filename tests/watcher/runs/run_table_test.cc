// The runs of a source that is not QMP's: what RunTable and RestoreRuns ask of any source.

#include "watcher/runs/run_table.h"

#include <sys/wait.h>

#include <csignal>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fake_qemu.h"
#include "tests/support/machine_probe.h"
#include "tests/support/wait.h"
#include "tests/watcher/runs/exit_message.h"
#include "tests/watcher/runs/fake_run.h"
#include "tests/watcher/runs/run_table_fixture.h"
#include "watcher/core/qmp_message.h"
#include "watcher/runs/describe_process.h"
#include "watcher/runs/exit_status_reader.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/peer_process.h"
#include "watcher/runs/run_restorer.h"
#include "watcher/runs/vm_run.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr char kText[] = "550e8400-e29b-41d4-A716-446655440000";

class RunTableTest : public RunTableFixture {};

TEST_F(RunTableTest, ARunIsFoundByItsIdItsNameAndItsIntent) {
  FakeRun* const run = Add("vm1", "run-1");
  FakeRun* const other = Add("vm1", "run-2");
  EXPECT_EQ(table_.Find("run-1"), run);
  EXPECT_EQ(table_.Find("run-3"), nullptr);
  EXPECT_THAT(table_.Named("vm1"), testing::UnorderedElementsAre(run, other));
  Declare(run);
  EXPECT_EQ(table_.FindByIntent("intent-1"), run);
  EXPECT_EQ(run->agent_questions, 1);
}

TEST_F(RunTableTest, AnEndedRunIsRemovedAtOnceAndDestroyedLater) {
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

TEST_F(RunTableTest, ARunThatBeginsWhileItsHostShutsDownEndsWithIt) {
  table_.SetHostShutdown({.known = true, .shutting_down = true, .by = "systemd-logind"});
  FakeRun* const run = Add("vm1", "run-1");
  run->waits = QmpEvent{.name = "SHUTDOWN", .data = {{"guest", false}, {"reason", "host-signal"}}};
  run->ReadNow();
  run->End();
  EXPECT_EQ(sink_.Last(EventType::kStopped)->update.event->shutdown().cause(),
            ShutdownCause::kHostShutdown);
}

// The listener that a run was taken for may end in the turn in which QEMU is found to be another
// process.
TEST_F(RunTableTest, ADiscardedRunReleasesItsProcessAtOnce) {
  FakeQemu listener;
  FakeRun* const run = Add("vm1", "run-1");
  ASSERT_TRUE(run->Track(IdentifyByPid(listener.pid()).value()).ok());
  run->Discard();
  EXPECT_FALSE(run->followed());
  listener.Kill(SIGKILL);
  for (int i = 0; i < 20; ++i) loop_->RunOnce(absl::Milliseconds(10));
  EXPECT_EQ(run->process_ends, 0);
}

// While a manager's report is waited for, another process may get the number.
TEST_F(RunTableTest, ASignalAfterTheEndOfTheProcessIsIgnored) {
  FakeQemu qemu;
  RunInfo info = Info("vm1", "run-1");
  info.process_tracked = true;
  info.pid = qemu.pid();
  FakeRun* const run = Add(std::move(info));
  run->awaits_report = true;
  ASSERT_TRUE(run->Track(IdentifyByPid(qemu.pid()).value()).ok());
  qemu.KillAndReap();
  ASSERT_TRUE(StepUntil([&] { loop_->RunOnce(absl::Milliseconds(10)); },
                        [&] { return run->process_ends == 1; }));
  run->Signal({.signal = SIGKILL, .pid = 812, .command = "bash"});
  run->End({.status = ExitStatus{0, SIGKILL}});
  EXPECT_FALSE(sink_.Last(EventType::kStopped)->update.event->shutdown().has_sender());
}

// A VM is first taken for the process that listens for it.
TEST_F(RunTableTest, AnUnclearSignalToTheListenerDoesNotExplainTheEndOfItsQemu) {
  FakeQemu listener;
  FakeQemu qemu;
  RunInfo info = Info("vm1", "run-1");
  info.process_tracked = true;
  info.pid = listener.pid();
  FakeRun* const run = Add(std::move(info));
  ASSERT_TRUE(run->Track(IdentifyByPid(listener.pid()).value()).ok());
  run->UnclearSignal(SIGKILL, "a timer may have sent it");
  ASSERT_TRUE(run->TrackInstead(IdentifyByPid(qemu.pid()).value()).ok());
  qemu.Kill(SIGKILL);
  ASSERT_TRUE(StepUntil([&] { loop_->RunOnce(absl::Milliseconds(10)); },
                        [&] { return sink_.Count(EventType::kStopped) == 1; }));
  const v1::ShutdownDetail& detail = sink_.Last(EventType::kStopped)->update.event->shutdown();
  EXPECT_EQ(detail.exit_signal().number(), SIGKILL);
  for (const v1::Evidence& seen : detail.evidence()) {
    EXPECT_THAT(seen.what(), testing::Not(HasSubstr("a timer")));
  }
}

// What decides the end has come, and nobody has read it yet.
TEST_F(RunTableTest, WhatQemuHasSentIsReadBeforeAnIntentIsTaken) {
  FakeRun* const run = Add("vm1", "run-1");
  run->waits =
      QmpEvent{.name = "SHUTDOWN", .data = {{"guest", true}, {"reason", "guest-shutdown"}}};
  EXPECT_TRUE(run->Lives());
  EXPECT_TRUE(absl::IsFailedPrecondition(run->CheckIntent()));
}

// A helper of QEMU's that was killed weeks before does not make an admin's kill a crash.
TEST_F(RunTableTest, AnOomKillIsTheRunsOnlyIfItIsCountedAsTheRunEnds) {
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
TEST_F(RunTableTest, AnOomKillIsAttributedToOneRunOnly) {
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

// The next daemon finds a zombie, and the count that stood as the process lived.
TEST_F(RunTableTest, AnEndWhileNoDaemonRanIsJudgedByWhatWasSavedOfItsProcess) {
  const auto count = [&](int kills) {
    std::ofstream(directory_.Path("memory.events")) << "oom_kill " << kills << "\n";
  };
  for (const bool own : {false, true}) {
    FakeQemu qemu;
    count(3);
    RunInfo info = Info("vm1", own ? "run-1" : "run-2");
    info.SetProcess(DescribeProcess(IdentifyByPid(qemu.pid()).value(), nullptr));
    info.oom_file = "/memory.events";
    info.oom_kills = 3;
    FakeRun* const run = Add(std::move(info));
    const std::string saved = run->session().Save();
    run->Discard();
    table_.EndTurn();
    if (own) count(4);
    const int ends = sink_.Count(EventType::kStopped);
    qemu.Kill(SIGKILL);
    siginfo_t end;
    ASSERT_EQ(waitid(P_PID, static_cast<id_t>(qemu.pid()), &end, WEXITED | WNOWAIT), 0);
    Restore({saved});
    ASSERT_EQ(sink_.Count(EventType::kStopped), ends + 1);
    const v1::ShutdownDetail& detail = sink_.Last(EventType::kStopped)->update.event->shutdown();
    EXPECT_EQ(detail.exit_signal().number(), SIGKILL);
    EXPECT_EQ(detail.cause(), own ? ShutdownCause::kOutOfMemory : ShutdownCause::kUnobserved);
  }
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

// Its QEMU may have another socket meanwhile.
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

TEST_F(RunTableTest, TwoVmsOfOneUuidNameEachOtherAndMoreAreReportedAsSeveral) {
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

TEST_F(RunTableTest, ASavedRunResumesOrEndsWhateverItsSource) {
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

}  // namespace
}  // namespace vmeventd
