#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/saved_run.h"
#include "tests/watcher/session/running_vm.h"
#include "tests/watcher/session/verdicts.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::Optional;
using ::testing::SizeIs;

// The daemon's restart.

using VmSessionRestartTest = RunningVmTest;

// QEMU's own time counts only for input that waited in the connection.
TEST_F(VmSessionRestartTest, EventsThatWaitedForTheNextDaemonCountByQemusTime) {
  constexpr char kShutdown[] = R"({"guest": true, "reason": "guest-shutdown"})";
  for (const bool waited : {true, false}) {
    RunningVm vm;
    vm.Event("POWERDOWN");
    vm.Advance(absl::Minutes(9));
    const absl::Time reported = vm.now().wall + absl::Seconds(20);
    vm.HandOver(absl::Minutes(2));
    if (!waited) vm.Ready();
    vm.EventAt(reported, "SHUTDOWN", kShutdown);
    vm.End();
    ExpectVerdict(vm, waited ? ShutdownClass::kAdmin : ShutdownClass::kUser,
                  waited ? ShutdownCause::kHostPowerdown : ShutdownCause::kGuestPoweroff);
  }
}

TEST_F(VmSessionRestartTest, APowerdownDuringAHandoverHasTheTimeAtWhichItWasSent) {
  const absl::Time reported = vm_.now().wall + absl::Seconds(20);
  vm_.HandOver(absl::Minutes(9));
  vm_.EventAt(reported, "POWERDOWN", "{}");
  vm_.Advance(absl::Minutes(2));
  vm_.EndBy("guest-shutdown");
  ExpectVerdict(vm_, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
}

// A watchdog's press of the power button has the same window.
TEST_F(VmSessionRestartTest, AWatchdogDuringAHandoverHasTheTimeAtWhichItWasSent) {
  const absl::Time reported = vm_.now().wall + absl::Seconds(20);
  vm_.HandOver(absl::Minutes(9));
  vm_.EventAt(reported, "WATCHDOG", R"({"action": "shutdown"})");
  vm_.EventAt(reported, "POWERDOWN", "{}");
  vm_.Advance(absl::Minutes(2));
  vm_.EndBy("guest-shutdown");
  ExpectVerdict(vm_, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
}

TEST_F(VmSessionRestartTest, AShutdownDuringAHandoverObeysTheWatchdogOfThatTime) {
  vm_.Event("WATCHDOG", R"({"action": "shutdown"})");
  vm_.Event("POWERDOWN");
  const absl::Time reported = vm_.now().wall + absl::Seconds(20);
  vm_.HandOver(absl::Minutes(11));
  vm_.EventAt(reported, "SHUTDOWN", R"({"guest": true, "reason": "guest-shutdown"})");
  vm_.End();
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kWatchdog);
}

// The agent left within the window before the SHUTDOWN was sent, and not before it was read.
TEST_F(VmSessionRestartTest, AnAgentThatLeftBeforeAHandoverCountsByTheTimeOfTheShutdown) {
  for (const bool in_window : {true, false}) {
    RunningVm vm;
    vm.Agent({.present = true, .open = true, .reported = true, .port = "ch0"});
    vm.Event("VSERPORT_CHANGE", R"({"id": "ch0", "open": false})");
    vm.Advance(in_window ? absl::Minutes(9) : absl::Minutes(10));
    const absl::Time reported = vm.now().wall + absl::Seconds(20);
    vm.HandOver(absl::Minutes(2));
    vm.EventAt(reported, "SHUTDOWN", R"({"guest": true, "reason": "guest-shutdown"})");
    vm.End();
    EXPECT_EQ(vm.Stopped().caveats_size(), in_window ? 1 : 0);
  }
}

TEST_F(VmSessionRestartTest, AHandoverMissesNoPowerdown) {
  vm_.HandOver(absl::Seconds(1));
  vm_.EndBy("guest-shutdown");
  ExpectVerdict(vm_, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
  EXPECT_EQ(vm_.Stopped().caveats_size(), 0);
}

// The end was between the last sign of life and now. What the previous daemon has recorded counts,
// or what the run has seen itself, if that is later.
TEST_F(VmSessionRestartTest, AnUnseenEndHasTheTimesBetweenWhichItHappened) {
  for (const bool recorded : {true, false}) {
    RunningVm vm;
    const absl::Time seen = vm.now().wall;
    SessionOptions options;
    if (recorded) options.last_watched = seen + absl::Seconds(10);
    vm.RestartWith(options);
    vm.Gone({.unseen = true, .late = true});
    EXPECT_EQ(FromTimestamp(vm.Stopped().last_seen_time()),
              recorded ? seen + absl::Seconds(10) : seen);
  }
}

// Nobody knows how long after its monitor's end the process ended: a QEMU that stays may have come
// up again.
TEST_F(VmSessionRestartTest, AGuestThatWasDownMayHaveComeUpIfItsMonitorClosedUnseen) {
  for (const bool stays : {true, false}) {
    RunningVm vm;
    vm.HandOver(absl::Minutes(1));
    vm.Shutdown("guest-shutdown");
    if (stays) vm.Event("STOP");
    vm.End({.status = ExitStatus{}, .unseen = true, .late = true});
    if (stays) {
      ExpectVerdict(vm, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
    } else {
      ExpectVerdict(vm, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
    }
  }
}

// Before Linux 6.15 its parent may have reaped it meanwhile.
TEST_F(VmSessionRestartTest, AnEndWithoutAStatusBetweenTwoDaemonsIsUnobserved) {
  for (const bool between : {true, false}) {
    RunningVm vm;
    vm.HandOver(absl::Seconds(1));
    vm.End({.unseen = between, .late = between});
    EXPECT_EQ(vm.Stopped().rule(), between ? "unobserved" : "process-exited");
    EXPECT_EQ(vm.file.has_value(), !between) << "who shut it down is not known";
  }
}

// A QEMU that accepts a connection after its monitor has closed did not end then.
TEST_F(VmSessionRestartTest, AGuestThatWasDownMayHaveComeUpIfItsMonitorAcceptsAgain) {
  for (const bool accepts : {true, false}) {
    RunningVm vm;
    vm.Shutdown("guest-shutdown");
    vm.Event("STOP");
    vm.Closed();
    if (accepts) vm.Accepted();
    vm.Gone({.status = ExitStatus{}});
    if (accepts) {
      ExpectVerdict(vm, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
    } else {
      ExpectVerdict(vm, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
    }
  }
}

// A daemon that ends after it has saved that the process is gone has published no STOPPED.
TEST_F(VmSessionRestartTest, AnEndThatWasSavedIsNoSignOfLife) {
  SessionOptions options;
  options.last_words = true;
  RunningVm vm(options);
  const absl::Time seen = vm.now().wall;
  vm.Restart();
  vm.answers_words = false;
  vm.Gone({.unseen = true, .late = true});
  vm.saved = vm.session().Save();
  vm.Restart();
  vm.Rebooted();
  EXPECT_EQ(FromTimestamp(vm.Stopped().last_seen_time()), seen);
}

TEST_F(VmSessionRestartTest, AnEndThatIsSeenHasOneTime) {
  vm_.RestartAndAttach();
  vm_.End();
  EXPECT_FALSE(vm_.Stopped().has_last_seen_time());
}

TEST_F(VmSessionRestartTest, OnlyAnEndThatIsSeenShowsHowLongQemuRan) {
  for (const bool seen : {true, false}) {
    SessionDriver vm({}, /*process_tracked=*/true, /*has_shutdown_file=*/true, absl::Minutes(5));
    vm.Ready();
    if (!seen) vm.Restart();
    vm.End({.unseen = !seen});
    EXPECT_EQ(vm.Stopped().numbers().has_ran_for(), seen);
  }
}

// What QEMU itself reports is a sign of life at the time at which it was sent.
TEST_F(VmSessionRestartTest, AnEventThatWaitedForTheNextDaemonIsASignOfLife) {
  const absl::Time reported = vm_.now().wall + absl::Seconds(20);
  vm_.HandOver(absl::Minutes(1));
  vm_.EventAt(reported, "SHUTDOWN", R"({"guest": true, "reason": "guest-shutdown"})");
  vm_.End({.unseen = true, .late = true});
  EXPECT_EQ(FromTimestamp(vm_.Stopped().last_seen_time()), reported);
}

TEST_F(VmSessionRestartTest, AnEndWithTheHostHasTwoTimes) {
  const absl::Time seen = vm_.now().wall;
  vm_.Restart();
  vm_.Rebooted();
  EXPECT_EQ(FromTimestamp(vm_.Stopped().last_seen_time()), seen);
}

TEST_F(VmSessionRestartTest, AStateLastsOverAHandover) {
  vm_.Event("STOP");
  const auto since = vm_.Status().state_time();
  vm_.Advance(absl::Minutes(1));
  vm_.HandOver(absl::ZeroDuration());
  vm_.Event("POWERDOWN");
  EXPECT_EQ(vm_.Status().state(), VmState::kPaused);
  EXPECT_EQ(vm_.Status().state_time().seconds(), since.seconds());
}

TEST_F(VmSessionRestartTest, StoppedHasQemusShutdownEventAfterAHandover) {
  vm_.EventAt(vm_.now().wall, "SHUTDOWN", R"({"guest": true, "reason": "guest-shutdown"})");
  const int64_t reported = absl::ToUnixSeconds(vm_.now().wall);
  vm_.Advance(absl::Seconds(2));
  vm_.HandOver(absl::ZeroDuration());
  vm_.End();
  EXPECT_EQ(vm_.Last().qemu_time().seconds(), reported);
  EXPECT_EQ(vm_.Last().detail_json(), R"({"guest":true,"reason":"guest-shutdown"})");
}

// The shutdown file.

using VmSessionFileTest = RunningVmTest;

TEST_F(VmSessionFileTest, IsLeftInPlaceIfALaterRunHasTheName) {
  vm_.Shutdown("host-qmp-quit");
  vm_.Restart();
  vm_.file = true;
  vm_.file_is_of_another = true;
  vm_.Gone();
  EXPECT_EQ(vm_.Stopped().shutdown_class(), ShutdownClass::kAdmin);
  EXPECT_EQ(vm_.file, true);
}

std::vector<bool> FilesOf(const Effects& effects) {
  std::vector<bool> files;
  for (const Effect& effect : effects) {
    if (const auto* file = std::get_if<SetShutdownFile>(&effect)) files.push_back(file->there);
  }
  return files;
}

// On a slow disk the VM may be back before its file is there.
TEST_F(VmSessionFileTest, IsTakenBackWhileItIsOnItsWay) {
  vm_.Shutdown("guest-shutdown");
  vm_.Event("STOP");
  VmSession& session = vm_.session();
  ASSERT_THAT(FilesOf(session.On(input::MonitorClosed{"EOF"}, vm_.now())), ElementsAre(true));
  const MonitorInfo info{"7.2.22", "running", "uuid-1", "web1"};
  EXPECT_THAT(FilesOf(session.On(input::MonitorReady{info}, vm_.now())), ElementsAre(false));
  session.On(input::FileDone{absl::OkStatus()}, vm_.now());  // of both
  const QmpEvent quit{.name = "SHUTDOWN", .data = {{"guest", false}, {"reason", "host-qmp-quit"}}};
  session.On(input::Event{quit}, vm_.now());
  EXPECT_THAT(FilesOf(session.On(input::MonitorClosed{"EOF"}, vm_.now())), ElementsAre(false))
      << "the next end has its own";
}

// The host's restart.

// What is saved. SessionDriver checks in every test that it is never behind.

std::vector<std::optional<std::string>> SavedRuns(const Effects& effects) {
  std::vector<std::optional<std::string>> saved;
  for (const Effect& effect : effects) {
    if (const Publish* publish = std::get_if<Publish>(&effect)) {
      saved.push_back(publish->update.saved_run);
    }
  }
  return saved;
}

TEST(VmSessionSavedRunTest, NothingIsPublishedIfNothingHasChanged) {
  RunningVm vm;
  EXPECT_THAT(SavedRuns(vm.session().On(input::MonitorClosed{"EOF"}, vm.now())), IsEmpty());
}

TEST(VmSessionSavedRunTest, AnEventThatIsDroppedStillSavesTheRun) {
  RunningVm vm;
  const QmpEvent event{"GUEST_PANICKED", nullptr, std::nullopt};
  constexpr int kAdmitted = EventLimiter::kBurst + EventLimiter::kReserve;
  for (int i = 0; i < kAdmitted; ++i) vm.session().On(input::Event{event}, vm.now());
  const Instant later{vm.now().wall + absl::Milliseconds(1), vm.now().monotonic};
  const Effects effects = vm.session().On(input::Event{event}, later);
  ASSERT_THAT(SavedRuns(effects), ElementsAre(vm.session().Save()));
  EXPECT_FALSE(std::get<Publish>(effects[0]).update.event.has_value());
}

TEST(VmSessionSavedRunTest, TheLastOfSeveralUpdatesSavesTheRun) {
  RunningVm vm;
  vm.Restart();
  const Effects effects =
      vm.session().On(input::MonitorReady{{"7.2.22", "paused", "uuid-1", "web1"}}, vm.now());
  EXPECT_THAT(SavedRuns(effects), ElementsAre(std::nullopt, vm.session().Save()));
}

TEST(VmSessionSavedRunTest, ARunIsSavedFromItsFirstEventUntilItsLast) {
  const Instant now{absl::FromUnixSeconds(1795157000), absl::Seconds(1000)};
  const SessionOptions options;
  VmSession session({.name = std::string("web1"), .run_id = std::string("r")}, &options, now);
  EXPECT_EQ(session.Save(), "");
  const auto saved = SavedRuns(session.On(input::ProcessGone{}, now));
  ASSERT_THAT(saved, SizeIs(2));
  EXPECT_THAT(saved[0], Optional(Not(IsEmpty())));
  EXPECT_EQ(saved[1], "");
  EXPECT_EQ(session.Save(), "");
}

TEST(VmSessionSavedRunTest, ARunWithoutAnEventIsNotSavedAsTheDaemonStops) {
  const Instant now{absl::FromUnixSeconds(1795157000), absl::Seconds(1000)};
  const SessionOptions options;
  VmSession session({.name = std::string("web1"), .run_id = std::string("r")}, &options, now);
  EXPECT_THAT(session.On(input::DaemonStops{}, now), IsEmpty());
}

using VmSessionSaveTest = RunningVmTest;

TEST_F(VmSessionSaveTest, ARunIsRestoredWithRawNamesAndOddText) {
  const Instant now{absl::FromUnixSeconds(1795157000), absl::Seconds(1000)};
  const SessionOptions options;
  RunInfo run;
  run.name = "a\n\"\\\u00e9\\xff";
  const std::string raw_name = "a\n\"\\\u00e9\xff";
  run.raw_name = raw_name;
  run.run_id = "r";
  run.source_key = "qmp";
  run.source = "qmp:/d\"\n\u00e9\\xff";
  run.monitor_path = absl::StrCat("/d/", run.name);
  run.raw_path = "/d/" + raw_name;
  run.pid = 1;
  run.start_ticks = 5;
  run.pidfd_inode = 6;
  run.process_start = now.wall - absl::Seconds(7);
  run.oom_file = "/sys/fs/cgroup/a/memory.events";
  run.oom_kills = 8;
  run.unit = "qemu@web1.service";
  run.domain_id = 9;
  run.has_manager = true;
  run.is_container = true;
  run.lost_problem = ProblemCode::kLibvirtLost;
  run.log = {"/logs", LastWordsSource::kLibvirtLog};
  run.has_shutdown_file = true;
  run.pid_namespace = 10;
  run.socket = {1, ~uint64_t{0}, -5};
  VmSession session(run, &options, now);
  session.On(input::MonitorReady{{"7.2\x7f\x01", "running", "", ""}}, now);
  session.On(input::NewLabels{{{"namespace", "shop"}}}, now);
  const std::string saved = session.Save();
  const auto restored = VmSession::Restore(saved, &options, now);
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_EQ(restored->run().name, run.name);
  EXPECT_EQ(restored->run().raw_name, raw_name);
  EXPECT_EQ(restored->run().source_key, "qmp");
  EXPECT_EQ(restored->run().source, run.source);
  EXPECT_EQ(restored->run().raw_path, "/d/" + raw_name);
  EXPECT_EQ(restored->run().monitor_path, run.monitor_path);
  EXPECT_EQ(restored->run().start_ticks, run.start_ticks);
  EXPECT_EQ(restored->run().pidfd_inode, run.pidfd_inode);
  EXPECT_EQ(restored->run().process_start, run.process_start);
  EXPECT_EQ(restored->run().oom_file, run.oom_file);
  EXPECT_EQ(restored->run().oom_kills, run.oom_kills);
  EXPECT_EQ(restored->run().unit, run.unit);
  EXPECT_EQ(restored->run().domain_id, run.domain_id);
  EXPECT_TRUE(restored->run().has_manager);
  EXPECT_TRUE(restored->run().is_container);
  EXPECT_EQ(restored->run().lost_problem, run.lost_problem);
  EXPECT_EQ(restored->run().log.directory, "/logs");
  EXPECT_EQ(restored->run().log.format, LastWordsSource::kLibvirtLog);
  EXPECT_TRUE(restored->run().has_shutdown_file);
  EXPECT_EQ(restored->run().pid_namespace, run.pid_namespace);
  EXPECT_EQ(restored->run().socket, run.socket);
  EXPECT_EQ(restored->Status().ref().unit(), run.unit);
  EXPECT_EQ(restored->Status().ref().labels().at("namespace"), "shop");
  EXPECT_EQ(restored->Status().qemu_version(), "7.2\x7f\x01");
}

// The saved text is the same, but the sequence of the last event is not.
TEST_F(VmSessionSaveTest, EachEventSavesTheRun) {
  for (const char* name : {"BLOCK_IO_ERROR", "MEMORY_FAILURE", "MIGRATION"}) {
    const Effects effects = vm_.session().On(input::Event{QmpEvent{.name = name}}, vm_.now());
    ASSERT_EQ(effects.size(), 1u) << name;
    const auto& update = std::get<Publish>(effects.front()).update;
    ASSERT_TRUE(update.event.has_value()) << name;
    EXPECT_EQ(update.saved_run, vm_.session().Save()) << name;
  }
}

TEST_F(VmSessionSaveTest, RefusesATextThatIsNoSavedRun) {
  const SessionOptions options;
  for (const std::string& saved :
       {std::string(), std::string("garbage"), std::string("{}"), std::string(100, '\0'),
        Changed(vm_.saved, [](internal::RunState* state) { state->set_format(1); }),
        Changed(vm_.saved,
                [](internal::RunState* state) { state->mutable_run()->clear_run_id(); })}) {
    EXPECT_TRUE(absl::IsInvalidArgument(VmSession::Restore(saved, &options, vm_.now()).status()));
  }
}

}  // namespace
}  // namespace vmeventd
