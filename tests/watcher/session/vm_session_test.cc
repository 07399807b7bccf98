#include "watcher/session/vm_session.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/problem_texts.h"
#include "tests/watcher/session/running_vm.h"
#include "tests/watcher/session/session_driver.h"
#include "tests/watcher/session/verdicts.h"

namespace vmeventd {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// Tests that no story covers: the order of things at the end, and texts.

using VmSessionOrderTest = RunningVmTest;

TEST_F(VmSessionOrderTest, AGuestsPoweroffHasItsMessageAndQemusEvent) {
  vm_.EndBy("guest-shutdown");
  ExpectVerdict(vm_, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
  EXPECT_THAT(vm_.Types(), ElementsAre(EventType::kStarted, EventType::kStopped));
  EXPECT_EQ(vm_.Last().qmp_event(), "SHUTDOWN");
  EXPECT_EQ(vm_.Last().detail_json(), R"({"guest":true,"reason":"guest-shutdown"})");
  EXPECT_EQ(vm_.Last().message(), "the guest powered itself off");
  EXPECT_EQ(EvidenceOf(vm_.Stopped()),
            "SHUTDOWN reason=guest-shutdown; monitor closed; process gone; ");
  EXPECT_TRUE(vm_.Stopped().shutdown_file_written());
  EXPECT_THAT(vm_.log, ElementsAre("file+", "STOPPED"));
}

TEST_F(VmSessionOrderTest, AStatusLeavesUnsetWhatIsNotKnown) {
  EXPECT_FALSE(vm_.Status().has_start_time());
  EXPECT_FALSE(vm_.Status().has_shutdown());
}

TEST_F(VmSessionOrderTest, ARunThatEndedWithItsHostHasNoWordsOfQemu) {
  vm_.Shutdown("guest-shutdown");
  vm_.Restart();
  vm_.Rebooted();
  EXPECT_EQ(vm_.Last().qmp_event(), "");
}

TEST_F(VmSessionOrderTest, AShutdownFileThatFailedIsTriedOnceMoreWhenTheProcessIsGone) {
  for (const bool again : {false, true}) {
    RunningVm vm;
    vm.Shutdown("guest-shutdown");
    vm.file_status = absl::ResourceExhaustedError("No space left on device");
    vm.Closed();
    EXPECT_THAT(vm.log, ElementsAre("file+"));
    if (!again) vm.file_status = absl::OkStatus();
    vm.Gone();
    EXPECT_THAT(vm.log, ElementsAre("file+", "file+", "STOPPED"));
    EXPECT_EQ(vm.Stopped().shutdown_file_written(), !again);
    EXPECT_EQ(vm.Status().problems().empty(), !again);
  }
}

TEST_F(VmSessionOrderTest, AFailedRemovalOfTheShutdownFileIsRetried) {
  vm_.Shutdown("guest-shutdown");
  vm_.Closed();
  vm_.file_status = absl::ResourceExhaustedError("Read-only file system");
  vm_.Ready();
  EXPECT_THAT(vm_.log, ElementsAre("file+", "file-"));
  vm_.file_status = absl::OkStatus();
  vm_.Event("RESUME");
  EXPECT_THAT(vm_.log, ElementsAre("file+", "file-", "file-"));
  EXPECT_EQ(vm_.file, false);
}

TEST_F(VmSessionOrderTest, ASecondReportOfTheHostsShutdownAddsNoEvidence) {
  vm_.Host(true, "systemd-logind");
  const std::string once = vm_.saved;
  vm_.Host(true, "systemd");
  EXPECT_EQ(vm_.saved, once);
}

TEST_F(VmSessionOrderTest, AFailedShutdownFileIsReportedAfterTheEventThatCausedIt) {
  SessionDriver vm;
  vm.file_status = absl::PermissionDeniedError("/run/ctrl/web1.shutdown: Permission denied");
  vm.Shutdown("guest-shutdown");
  vm.Closed();
  EXPECT_THAT(vm.Types(), ElementsAre(EventType::kStarted, EventType::kProblemsChanged));
  EXPECT_THAT(ProblemTexts(vm.statuses.back().problems()),
              Contains(HasSubstr("Permission denied")));
}

TEST_F(VmSessionOrderTest, AShutdownFileIsWrittenIfTheRunHasOne) {
  for (const bool has_file : {true, false}) {
    RunningVm vm({}, true, has_file);
    vm.EndBy("guest-shutdown");
    EXPECT_EQ(vm.Stopped().shutdown_file_written(), has_file);
    EXPECT_EQ(vm.file.has_value(), has_file);
    EXPECT_THAT(vm.statuses.back().problems(), IsEmpty());
  }
}

TEST_F(VmSessionOrderTest, ThePowerdownsAgeIsMeasuredAtTheShutdownNotAtTheEnd) {
  vm_.Event("POWERDOWN");
  vm_.Advance(absl::Seconds(5));
  vm_.Shutdown("guest-shutdown");
  vm_.Event("STOP");
  vm_.Advance(absl::Hours(5));
  vm_.End();
  EXPECT_EQ(vm_.Stopped().cause(), ShutdownCause::kHostPowerdown);
  EXPECT_EQ(vm_.Stopped().powerdown_age().seconds(), 5);
}

// The monitor.

using VmSessionMonitorTest = RunningVmTest;

TEST_F(VmSessionMonitorTest, AReconnectIsNoChangeOfTheState) {
  const auto since = [this] { return FromTimestamp(vm_.statuses.back().state_time()); };
  const absl::Time running = since();
  vm_.Advance(absl::Minutes(1));
  vm_.Closed("libvirt was restarted");
  vm_.Advance(absl::Seconds(5));
  EXPECT_EQ(vm_.statuses.back().state(), v1::VM_STATE_UNREACHABLE);
  EXPECT_GT(since(), running);
  vm_.Ready();
  EXPECT_EQ(vm_.statuses.back().state(), v1::VM_STATE_RUNNING);
  EXPECT_EQ(since(), running);
}

TEST_F(VmSessionMonitorTest, AReconnectAfterARestartIsNoChangeOfTheState) {
  vm_.Event("STOP");
  const auto since = [this] { return FromTimestamp(vm_.statuses.back().state_time()); };
  const absl::Time paused = since();
  vm_.Advance(absl::Minutes(1));
  vm_.Closed("libvirt was restarted");
  vm_.Advance(absl::Seconds(5));
  ASSERT_EQ(vm_.statuses.back().state(), v1::VM_STATE_UNREACHABLE);
  vm_.RestartAndAttach("paused");
  EXPECT_EQ(vm_.Status().state(), v1::VM_STATE_PAUSED);
  EXPECT_EQ(FromTimestamp(vm_.Status().state_time()), paused);
}

TEST_F(VmSessionMonitorTest, AQuickReconnectIsReportedToo) {
  vm_.Closed("a line that is not JSON");
  vm_.Ready();
  EXPECT_THAT(vm_.Types(), ElementsAre(EventType::kStarted, EventType::kMonitorLost,
                                       EventType::kMonitorRestored));
  EXPECT_THAT(vm_.events[1].message(), HasSubstr("not JSON"));
}

// Incus resets each VM that it starts, and resumes it.
TEST(VmSessionTest, EventsBeforeQemusFirstAnswerBelongToTheStart) {
  SessionDriver vm;
  vm.Event("RESET", R"({"guest": false, "reason": "host-qmp-system-reset"})");
  vm.Event("RESUME");
  EXPECT_THAT(vm.Types(), ElementsAre());
  vm.Ready();
  ASSERT_THAT(vm.Types(), ElementsAre(EventType::kStarted));
  EXPECT_THAT(vm.events[0].message(), HasSubstr("QEMU 7.2.22"));
  vm.Advance(absl::Seconds(1));
  vm.Event("RESET", R"({"guest": true, "reason": "guest-reset"})");
  EXPECT_THAT(vm.Types(), ElementsAre(EventType::kStarted, EventType::kReset));
}

TEST(VmSessionTest, AnAttachmentLongAfterTheStartIsPartOfTheEvidence) {
  const Instant now{absl::FromUnixSeconds(1795157000), absl::Seconds(1000)};
  const SessionOptions options;
  RunInfo run;
  run.name = "web1";
  run.run_id = "r";
  run.raw_path = "/run/ctrl/web1.kvmd";
  run.has_shutdown_file = true;
  run.process_start = now.wall - absl::Hours(1);
  VmSession session(run, &options, now);
  session.On(input::MonitorReady{{"7.2.22", "running", "", ""}}, now);
  session.On(input::ProcessGone{}, now);
  const Effects effects = session.On(input::FileDone{absl::OkStatus()}, now);
  ASSERT_FALSE(effects.empty());
  const v1::Event& stopped = *std::get<Publish>(effects[0]).update.event;
  ASSERT_GT(stopped.shutdown().evidence_size(), 0);
  EXPECT_THAT(stopped.shutdown().evidence(0).what(), HasSubstr("attached 1h"));
}

}  // namespace
}  // namespace vmeventd
