#include "watcher/session/vm_session.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/problem_texts.h"
#include "tests/watcher/session/session_driver.h"

namespace vmeventd {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

// The order of things at the end.

using VmSessionOrderTest = RunningVmTest;

TEST_F(VmSessionOrderTest, AShutdownInAnyHandshakeHasItsFileAtEof) {
  for (const char* how : {"attach", "restart", "reconnect"}) {
    SessionDriver vm;
    if (how != std::string("attach")) vm.Ready();
    if (how == std::string("restart")) vm.Restart();
    if (how == std::string("reconnect")) {
      vm.Closed();
      vm.Advance(absl::Seconds(1));
    }
    vm.Shutdown("guest-shutdown");
    EXPECT_EQ(vm.file, std::nullopt) << how;
    vm.Closed();
    EXPECT_EQ(vm.file, true) << how;
    vm.Advance(absl::Milliseconds(100));
    vm.Gone();
    ExpectVerdict(vm, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
    EXPECT_THAT(vm.log, ElementsAre("file+", "STOPPED")) << how;
  }
}

TEST_F(VmSessionOrderTest, AFileThatFailsIsToldAfterWhatLedToIt) {
  SessionDriver vm;
  vm.file_status = absl::PermissionDeniedError("/run/ctrl/web1.shutdown: Permission denied");
  vm.Shutdown("guest-shutdown");
  vm.Closed();
  EXPECT_THAT(vm.Types(), ElementsAre(EventType::kStarted, EventType::kProblemsChanged));
  EXPECT_THAT(ProblemTexts(vm.statuses.back().problems), Contains(HasSubstr("Permission denied")));
}

TEST_F(VmSessionOrderTest, AnEndThatWasNoneDoesNotDecideTheNextFile) {
  vm_.Shutdown("host-qmp-quit");
  vm_.Closed();
  EXPECT_EQ(vm_.file, false);
  vm_.Advance(absl::Seconds(5));  // it lives
  vm_.Event("RESET");
  vm_.Shutdown("guest-shutdown");
  vm_.Closed();
  EXPECT_EQ(vm_.file, true);
  vm_.Gone();
  ExpectVerdict(vm_, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
}

TEST_F(VmSessionOrderTest, TheFileComesAtEofAndBeforeStopped) {
  vm_.Shutdown("guest-shutdown");
  EXPECT_EQ(vm_.file, std::nullopt) << "QEMU may stay (-no-shutdown)";
  vm_.Closed();
  EXPECT_EQ(vm_.file, true);
  EXPECT_THAT(vm_.Types(), Not(Contains(EventType::kStopped)));
  vm_.Advance(absl::Seconds(3));
  EXPECT_THAT(vm_.Types(), Not(Contains(EventType::kMonitorLost)));
  vm_.Gone();
  EXPECT_THAT(vm_.log, ElementsAre("file+", "STOPPED"));
}

TEST_F(VmSessionOrderTest, WithoutAShutdownTheFileFollowsTheProcess) {
  vm_.Closed();
  EXPECT_EQ(vm_.file, std::nullopt);
  vm_.Gone();
  EXPECT_THAT(vm_.log, ElementsAre("file-", "STOPPED"));
}

TEST_F(VmSessionOrderTest, ShutdownFilesAreForGanetisMonitorsUnlessAskedFor) {
  const struct {
    ShutdownFiles files;
    std::string monitor;
    bool written;
  } rows[] = {{ShutdownFiles::kGaneti, "/run/ctrl/web1.kvmd", true},
              {ShutdownFiles::kGaneti, "/run/qemu/web1.qmp", false},
              {ShutdownFiles::kGaneti, "/run/qemu/web1.kvmd.qmp", false},
              {ShutdownFiles::kOn, "/run/qemu/web1.qmp", true},
              {ShutdownFiles::kOff, "/run/ctrl/web1.kvmd", false}};
  for (const auto& row : rows) {
    RunningVm vm(SessionOptions{.shutdown_files = row.files}, true, row.monitor);
    vm.EndBy("guest-shutdown");
    EXPECT_EQ(vm.Stopped().shutdown_file_written, row.written) << row.monitor;
    EXPECT_EQ(vm.file.has_value(), row.written) << row.monitor;
    EXPECT_THAT(vm.statuses.back().problems, IsEmpty()) << row.monitor;
  }
}

TEST_F(VmSessionOrderTest, TheFirstShutdownWins) {
  vm_.Shutdown("guest-shutdown");
  vm_.Event("STOP");
  vm_.Advance(absl::Hours(1));
  vm_.EndBy("host-signal");
  EXPECT_EQ(vm_.Stopped().cause, ShutdownCause::kGuestPoweroff);
}

TEST_F(VmSessionOrderTest, ThePowerdownsAgeIsThatAtTheShutdownNotAtTheEnd) {
  vm_.Event("POWERDOWN");
  vm_.Advance(absl::Seconds(5));
  vm_.Shutdown("guest-shutdown");
  vm_.Event("STOP");
  vm_.Advance(absl::Hours(5));
  vm_.End();
  EXPECT_EQ(vm_.Stopped().cause, ShutdownCause::kHostPowerdown);
  EXPECT_EQ(vm_.Stopped().powerdown_age, absl::Seconds(5));
}

// The monitor.

using VmSessionMonitorTest = RunningVmTest;

TEST_F(VmSessionMonitorTest, AnEventBeforeTheRepliesFollowsStarted) {
  SessionDriver vm;
  vm.Event("POWERDOWN");
  EXPECT_EQ(vm.Status().state, VmState::kUnreachable);
  vm.Ready();
  EXPECT_THAT(vm.Types(), ElementsAre(EventType::kStarted, EventType::kPowerdownRequested,
                                      EventType::kStateChanged));
  EXPECT_EQ(vm.Last().message, "the VM is running");
  EXPECT_EQ(vm.Status().state, VmState::kRunning);
  EXPECT_EQ(vm.statuses.back().ref.uuid, "uuid-1");
}

TEST_F(VmSessionMonitorTest, EofOfALivingProcessIsNoEnd) {
  vm_.Closed();
  vm_.Advance(absl::Milliseconds(999));
  EXPECT_THAT(vm_.Types(), ElementsAre(EventType::kStarted));
  vm_.Advance(absl::Milliseconds(1));
  EXPECT_THAT(vm_.Types(), ElementsAre(EventType::kStarted, EventType::kMonitorLost));
  EXPECT_EQ(vm_.Status().state, VmState::kUnreachable);
  EXPECT_THAT(vm_.Status().problems, SizeIs(1));
  vm_.Ready();
  EXPECT_EQ(vm_.Last().type, EventType::kMonitorRestored);
  EXPECT_EQ(vm_.Status().state, VmState::kRunning);
  EXPECT_THAT(vm_.Status().problems, IsEmpty());
}

TEST_F(VmSessionMonitorTest, AQuickReconnectIsToldAsWell) {
  vm_.Closed("a line that is not JSON");
  vm_.Ready();
  EXPECT_THAT(vm_.Types(), ElementsAre(EventType::kStarted, EventType::kMonitorLost,
                                       EventType::kMonitorRestored));
  EXPECT_THAT(vm_.events[1].message, HasSubstr("not JSON"));
}

TEST_F(VmSessionMonitorTest, AStateThatChangedUnseenIsAGap) {
  vm_.Closed();
  vm_.Advance(absl::Seconds(1));
  vm_.Ready("paused");
  EXPECT_THAT(vm_.Types(),
              ElementsAre(EventType::kStarted, EventType::kMonitorLost, EventType::kMonitorRestored,
                          EventType::kGap, EventType::kPaused));
  EXPECT_EQ(vm_.Status().state, VmState::kPaused);
}

TEST_F(VmSessionMonitorTest, AVmThatCameBackToLifeUnseenTakesItsFileBack) {
  vm_.Shutdown("guest-shutdown");
  vm_.Closed();
  EXPECT_EQ(vm_.file, true);
  vm_.Advance(absl::Seconds(5));
  EXPECT_THAT(vm_.Types(), Not(Contains(EventType::kMonitorLost))) << "QEMU exits";
  EXPECT_EQ(vm_.Status().state, VmState::kGuestDown);
  vm_.Advance(absl::Minutes(1));
  EXPECT_THAT(ProblemTexts(vm_.Status().problems),
              ElementsAre(HasSubstr("QEMU has not exited for")));
  vm_.Ready("running");
  EXPECT_THAT(vm_.Types(), Not(Contains(EventType::kMonitorRestored)));
  EXPECT_EQ(vm_.Status().state, VmState::kRunning);
  EXPECT_THAT(vm_.Status().problems, IsEmpty());
  EXPECT_EQ(vm_.file, false);
  vm_.EndBy("guest-shutdown");
  EXPECT_EQ(vm_.file, true);
  EXPECT_TRUE(vm_.Stopped().shutdown_file_written);
}

TEST_F(VmSessionMonitorTest, AMonitorThatOpensAfterBeingHeldIsRestored) {
  SessionDriver vm;
  vm.Held();
  vm.Held();
  vm.Ready();
  EXPECT_THAT(vm.Types(), ElementsAre(EventType::kStarted, EventType::kMonitorRestored));
  EXPECT_THAT(vm.Status().problems, IsEmpty());
  vm.End();
  EXPECT_EQ(vm.Stopped().cause, ShutdownCause::kProcessExited);
}

TEST_F(VmSessionMonitorTest, RunStatesThatNeedALookAreProblems) {
  vm_.Event("BLOCK_IO_ERROR", R"({"device": "disk0", "action": "stop"})");
  vm_.Event("STOP");
  vm_.RunState("io-error");
  EXPECT_THAT(ProblemTexts(vm_.Status().problems), ElementsAre(HasSubstr("I/O error")));
  vm_.Event("RESUME");
  EXPECT_THAT(vm_.Status().problems, IsEmpty());
}

TEST(VmSessionTest, AnAttachmentLongAfterTheStartIsPartOfTheEvidence) {
  const Instant now{absl::FromUnixSeconds(1795157000), absl::Seconds(1000)};
  const SessionOptions options;
  RunInfo run;
  run.name = "web1";
  run.run_id = "r";
  run.process_start = now.wall - absl::Hours(1);
  VmSession session(run, &options, now);
  session.On(input::MonitorReady{{"7.2.22", "running", "", ""}}, now);
  session.On(input::ProcessGone{}, now);
  const Effects effects = session.On(input::FileDone{absl::OkStatus()}, now);
  const VmEvent& stopped = *std::get<Publish>(effects[0]).update.event;
  EXPECT_THAT(stopped.shutdown->evidence.front().what, HasSubstr("attached 1h"));
}

}  // namespace
}  // namespace vmeventd
