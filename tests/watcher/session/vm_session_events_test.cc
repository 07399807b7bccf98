#include <string>
#include <variant>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/problem_texts.h"
#include "tests/watcher/session/process_ends.h"
#include "tests/watcher/session/running_vm.h"
#include "tests/watcher/session/session_driver.h"
#include "tests/watcher/session/verdicts.h"
#include "watcher/core/guest_panic.h"
#include "watcher/core/qmp_message.h"

namespace vmeventd {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

// Events and their types.

struct TypeCase {
  const char* name;
  const char* data;
  EventType type;
};

class EventTypeTest : public ::testing::TestWithParam<TypeCase> {};

TEST_P(EventTypeTest, IsPublishedWithItsData) {
  RunningVm vm;
  vm.Line(absl::StrCat(R"({"event": ")", GetParam().name, R"(", "data": )", GetParam().data,
                       R"(, "timestamp": {"seconds": 1795157127, "microseconds": 5}})"));
  ASSERT_THAT(vm.Types(), ElementsAre(EventType::kStarted, GetParam().type));
  EXPECT_EQ(vm.Last().qmp_event(), GetParam().name);
  EXPECT_EQ(vm.Last().detail_json(), GetParam().data);
  EXPECT_EQ(FromTimestamp(vm.Last().qemu_time()), absl::FromUnixMicros(1795157127000005));
  EXPECT_THAT(vm.Last().message(), Not(IsEmpty()));
}

INSTANTIATE_TEST_SUITE_P(
    Table, EventTypeTest,
    ::testing::Values(
        TypeCase{"POWERDOWN", "{}", EventType::kPowerdownRequested},
        TypeCase{"RESET", R"({"guest":true})", EventType::kReset},
        TypeCase{"STOP", "{}", EventType::kPaused},
        TypeCase{"SUSPEND", "{}", EventType::kSuspended},
        TypeCase{"WAKEUP", "{}", EventType::kWoken},
        TypeCase{"SUSPEND_DISK", "{}", EventType::kHibernating},
        TypeCase{"GUEST_PANICKED", R"({"action":"run"})", EventType::kGuestPanicked},
        TypeCase{"GUEST_CRASHLOADED", R"({"action":"run"})", EventType::kGuestPanicked},
        TypeCase{"WATCHDOG", R"({"action":"none"})", EventType::kWatchdogExpired},
        TypeCase{"BLOCK_IO_ERROR", R"({"device":"d"})", EventType::kIoError},
        TypeCase{"BLOCK_JOB_ERROR", R"({"device":"d"})", EventType::kIoError},
        TypeCase{"BLOCK_IMAGE_CORRUPTED", R"({"device":"d"})", EventType::kIoError},
        TypeCase{"MEMORY_FAILURE", R"({"recipient":"guest"})", EventType::kMemoryFailure},
        TypeCase{"MIGRATION", R"({"status":"active"})", EventType::kMigration}),
    [](const auto& test) { return test.param.name; });

using VmSessionEventTest = RunningVmTest;

TEST_F(VmSessionEventTest, EvidenceCutsALongText) {
  std::string reason = "guest-";
  for (int i = 0; i < 100'000; ++i) reason += "\xC3\xA4";
  vm_.EndBy(reason);
  ASSERT_TRUE(vm_.Last().has_shutdown());
  const std::string& what = vm_.Last().shutdown().evidence(0).what();
  EXPECT_THAT(what, testing::StartsWith("SHUTDOWN reason=guest-"));
  EXPECT_THAT(what, testing::EndsWith("\xC3\xA4..."));
  EXPECT_LE(what.size(), 515u);
}

using VmSessionFloodTest = RunningVmTest;

TEST_F(VmSessionFloodTest, AFloodIsLimitedAndOneGapCountsDroppedEvents) {
  for (int i = 0; i < 1000; ++i) vm_.Event("MEMORY_FAILURE", R"({"recipient": "guest"})");
  EXPECT_THAT(vm_.events, SizeIs(1 + EventLimiter::kBurst));
  vm_.Advance(absl::Seconds(1));
  ASSERT_THAT(vm_.events, SizeIs(2 + EventLimiter::kBurst));
  EXPECT_EQ(vm_.Last().type(), EventType::kGap);
  EXPECT_EQ(vm_.Last().gap_reason(), GapReason::kRateLimited);
  EXPECT_THAT(vm_.Last().message(), HasSubstr("800 events"));
  vm_.Advance(absl::Hours(1));
  EXPECT_EQ(vm_.Last().type(), EventType::kGap);
  EXPECT_THAT(vm_.events, SizeIs(2 + EventLimiter::kBurst));
}

TEST_F(VmSessionFloodTest, EvidenceIsNeitherCutNorLost) {
  for (int i = 0; i < 1000; ++i) vm_.Event("MEMORY_FAILURE");
  vm_.Event("POWERDOWN");
  EXPECT_EQ(vm_.Last().type(), EventType::kPowerdownRequested);
  vm_.EndBy("guest-shutdown");
  EXPECT_EQ(vm_.Stopped().cause(), ShutdownCause::kHostPowerdown);
  EXPECT_EQ(vm_.events[vm_.events.size() - 2].type(), EventType::kGap)
      << "published before the last event";
}

TEST_F(VmSessionFloodTest, DroppedEventsAreReportedBeforeAHandover) {
  for (int i = 0; i < 1000; ++i) vm_.Event("MEMORY_FAILURE");
  vm_.HandOver(absl::ZeroDuration());
  EXPECT_EQ(vm_.Last().type(), EventType::kGap);
  EXPECT_THAT(vm_.Last().message(), HasSubstr("800 events"));
}

TEST_F(VmSessionFloodTest, NoEventPassesTheLimit) {
  const struct {
    const char* name;
    const char* data;
    const char* then;  // sent after each; null: nothing
  } kFloods[] = {
      {"POWERDOWN", "", nullptr},
      {"STOP", "", "RESUME"},
      {"RESET", R"({"guest": true})", nullptr},
      {"GUEST_PANICKED", R"({"action": "run"})", "RESET"},
      {"GUEST_PANICKED", R"({"action": "pause"})", "RESUME"},
      {"WATCHDOG", R"({"action": "pause"})", "RESUME"},
      {"SUSPEND", "", "WAKEUP"},
      {"SUSPEND_DISK", "", "RESET"},
      {"SHUTDOWN", R"({"guest": true, "reason": "guest-shutdown"})", "STOP"},
      {"SHUTDOWN", R"({"guest": true, "reason": "guest-shutdown"})", "RESUME"},
  };
  for (const auto& flood : kFloods) {
    RunningVm vm;
    size_t most = 1 + EventLimiter::kBurst + EventLimiter::kReserve + 2;
    for (int i = 0; i < 2000; ++i) {
      vm.Event(flood.name, flood.data);
      if (flood.then != nullptr) vm.Event(flood.then);
      vm.AdvanceWithoutTick(absl::Milliseconds(1));
    }
    most += size_t{2} * EventLimiter::kPerSecond;
    EXPECT_LE(vm.events.size(), most) << flood.name << " " << flood.then;
    const size_t updates_before = vm.statuses.size();
    EXPECT_LE(updates_before, most + 50 + 20) << "what is kept without an event has a bound";
    vm.Advance(absl::Seconds(10));
    EXPECT_FALSE(vm.session().unsaved());
    EXPECT_EQ(vm.statuses.back().state(), vm.Status().state());
    vm.End();
  }
}

TEST_F(VmSessionFloodTest, TheGapAfterAFloodHasTheVmsState) {
  for (int i = 0; i < 1000; ++i) {
    vm_.Event("STOP");
    vm_.Event("RESUME");
  }
  vm_.Event("STOP");
  const std::vector<EventType> before = vm_.Types();
  EXPECT_EQ(vm_.statuses.back().state(), vm_.Status().state()) << "as of the last event";
  vm_.Advance(absl::Seconds(1));
  EXPECT_EQ(vm_.Last().type(), EventType::kGap);
  EXPECT_EQ(vm_.statuses.back().state(), VmState::kPaused);
  vm_.Restart();
  EXPECT_EQ(vm_.Status().state(), VmState::kPaused);
}

TEST_F(VmSessionFloodTest, EvidenceThatWasLeftOutIsSavedSoonAndCounts) {
  for (int i = 0; i < 1000; ++i) vm_.Event("POWERDOWN");
  for (int i = 0; i < 1000; ++i) {
    vm_.Event("GUEST_PANICKED", absl::StrCat(R"({"action": "run)", i, R"("})"));
  }
  vm_.Advance(absl::Milliseconds(100));
  EXPECT_FALSE(vm_.session().unsaved());
  vm_.EndDuringRestart();
  EXPECT_EQ(vm_.Stopped().rule(), "snapshot") << "the guest may have been reset";
  EXPECT_THAT(EvidenceOf(vm_.Stopped()), HasSubstr("GUEST_PANICKED action=run999"));
}

TEST_F(VmSessionFloodTest, AQuietLifeIsSavedAtOnce) {
  for (int i = 0; i < 20; ++i) {
    vm_.Event("POWERDOWN");
    vm_.Event("VSERPORT_CHANGE", R"({"id": "x", "open": true})");
    vm_.RunState("running");
    EXPECT_FALSE(vm_.session().unsaved());
  }
  vm_.Shutdown("guest-shutdown");
  EXPECT_FALSE(vm_.session().unsaved());
  vm_.EndDuringRestart();
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostPowerdown);
}

TEST_F(VmSessionFloodTest, AMonitorThatFlapsIsAFlood) {
  for (int i = 0; i < 1000; ++i) {
    vm_.Closed();
    vm_.Ready(i % 2 == 0 ? "paused" : "running");
  }
  EXPECT_LE(vm_.events.size(), 1u + EventLimiter::kBurst + EventLimiter::kReserve);
}

// The state and the problems. SessionDriver checks in every test that they change only with events.

TEST(VmSessionStateTest, ProblemsThatComeAndGoAreReportedByEvents) {
  RunningVm vm;
  vm.SharedUuid("its UUID is used by the running VM web2 as well");
  EXPECT_EQ(vm.Last().type(), EventType::kProblemsChanged);
  EXPECT_THAT(vm.Last().message(), HasSubstr("web2"));
  ASSERT_THAT(vm.Status().problems(), SizeIs(1));
  EXPECT_EQ(vm.Status().problems(0).code(), v1::PROBLEM_CODE_SHARED_UUID);
  vm.Restart();
  EXPECT_THAT(vm.Status().problems(), SizeIs(1)) << "nothing has changed";
  vm.SharedUuid("its UUID is used by the running VM web2 as well");
  EXPECT_THAT(vm.events, SizeIs(2));
  vm.SharedUuid("");
  EXPECT_EQ(vm.Last().type(), EventType::kProblemsChanged);
  EXPECT_THAT(vm.Status().problems(), IsEmpty());
}

TEST(VmSessionStateTest, AVmWhoseDirectoryHangsIsUnreachableDespiteItsMonitor) {
  RunningVm vm;
  vm.DirectoryHangs(true);
  EXPECT_EQ(vm.Status().state(), VmState::kUnreachable);
  EXPECT_EQ(vm.Last().type(), EventType::kStateChanged);
  vm.Event("STOP");
  EXPECT_EQ(vm.Status().state(), VmState::kUnreachable);
  vm.RestartAndAttach("paused");  // if it still hangs, that is found again
  EXPECT_EQ(vm.Status().state(), VmState::kPaused);
  EXPECT_THAT(vm.Status().problems(), IsEmpty());
  vm.DirectoryHangs(true);
  vm.Event("SHUTDOWN", R"({"guest": true, "reason": "guest-shutdown"})");
  vm.End();
  EXPECT_EQ(vm.Stopped().shutdown_class(), ShutdownClass::kUser);
}

TEST(VmSessionStateTest, AProblemThatComesWithAnEventHasNoSeparateEvent) {
  SessionDriver vm;
  vm.SharedUuid("its UUID is used by the running VM web2 as well");
  vm.Ready();
  EXPECT_THAT(vm.Types(), ElementsAre(EventType::kStarted));
  EXPECT_THAT(vm.Status().problems(), SizeIs(1));
  vm.Closed();
  vm.Advance(absl::Seconds(1));
  EXPECT_THAT(vm.Types(), ElementsAre(EventType::kStarted, EventType::kMonitorLost));
  EXPECT_THAT(vm.Status().problems(), SizeIs(2));
  vm.End();
  EXPECT_THAT(vm.Status().problems(), IsEmpty());
}

TEST_F(VmSessionFloodTest, TheEvidenceHasABoundDespiteAFlood) {
  for (int i = 0; i < 1000; ++i) {
    vm_.Event("GUEST_PANICKED", absl::StrCat(R"({"action": "run)", i, R"("})"));
  }
  vm_.End();
  EXPECT_LE(vm_.Stopped().evidence().size(), EvidenceLog::kMaxEntries + 4);
}

// What a guest reported as it panicked.

constexpr char kWindows[] =
    R"({"action": "poweroff", "info": {"type": "hyper-v", "arg1": 30,
        "arg2": 18446744072635809797, "arg3": 0, "arg4": 1, "arg5": 2}})";

using VmSessionPanicTest = RunningVmTest;

TEST_F(VmSessionPanicTest, TheEndHasHyperVsArguments) {
  vm_.Event("GUEST_PANICKED", kWindows);
  EXPECT_EQ(vm_.Last().panic().action(), "poweroff");
  vm_.EndDuringRestart();
  ExpectVerdict(vm_, ShutdownClass::kCrash, ShutdownCause::kGuestPanic);
  ASSERT_TRUE(vm_.Stopped().has_panic());
  EXPECT_EQ(vm_.Stopped().panic().action(), "poweroff");
  EXPECT_THAT(vm_.Stopped().panic().hyper_v().args(),
              ElementsAre(30, 18446744072635809797U, 0, 1, 2));
  EXPECT_THAT(EvidenceOf(vm_.Stopped()),
              HasSubstr("GUEST_PANICKED action=poweroff, reported by the guest: Hyper-V 0x1e "
                        "0xffffffffc0000005 0x0 0x1 0x2; "));
}

TEST_F(VmSessionPanicTest, TheEndHasTheProgramStatusWordOfAnS390Guest) {
  vm_.Event("GUEST_PANICKED", R"({"action": "pause", "info": {"type": "s390", "core": 3,
      "psw-mask": 562956395872256, "psw-addr": 1102832, "reason": "disabled-wait"}})");
  vm_.EndDuringRestart();
  const v1::S390Panic& s390 = vm_.Stopped().panic().s390();
  EXPECT_EQ(s390.core(), 3U);
  EXPECT_EQ(s390.psw_mask(), 562956395872256U);
  EXPECT_EQ(s390.psw_addr(), 1102832U);
  EXPECT_EQ(s390.reason(), "disabled-wait");
  EXPECT_THAT(EvidenceOf(vm_.Stopped()),
              HasSubstr("s390 core 3, PSW 0x2000180000000 0x10d3f0, disabled-wait"));
}

TEST_F(VmSessionPanicTest, ATdxGuestsMessageIsOneLineAndCut) {
  vm_.Event(
      "GUEST_PANICKED",
      absl::StrCat(R"({"action": "pause", "info": {"type": "tdx", "error-code": 7, "message": ")",
                   R"(a\nb\u001b[31m\\c)", std::string(5000, 'x'), R"(", "gpa": 4096}})"));
  vm_.EndDuringRestart();
  const v1::TdxPanic& tdx = vm_.Stopped().panic().tdx();
  EXPECT_EQ(tdx.error_code(), 7U);
  EXPECT_EQ(tdx.gpa(), 4096U);
  EXPECT_EQ(tdx.message().size(), kMaxPanicMessageBytes);
  EXPECT_THAT(tdx.message(), testing::StartsWith("a\\x0ab\\x1b[31m\\x5ccxxx"));
  EXPECT_THAT(EvidenceOf(vm_.Stopped()), Not(HasSubstr("\n")));
}

TEST_F(VmSessionPanicTest, AResetDropsThePanic) {
  vm_.Event("GUEST_PANICKED", kWindows);
  vm_.Event("RESET");
  vm_.EndBy("guest-shutdown");
  EXPECT_FALSE(vm_.Stopped().has_panic());
}

TEST_F(VmSessionPanicTest, ACrashKernelWithoutDetailsKeepsThePanicsDetails) {
  vm_.Event("GUEST_PANICKED", kWindows);
  vm_.Event("GUEST_CRASHLOADED", R"({"action": "run"})");
  vm_.End();
  EXPECT_TRUE(vm_.Stopped().panic().has_hyper_v());
}

TEST_F(VmSessionPanicTest, MembersOfAnotherTypeAreIgnored) {
  const auto parse = [](const std::string& data) {
    return ParseGuestPanic(QmpObject::parse(data));
  };
  EXPECT_EQ(DescribePanic(parse(R"({"action": "run"})")), "");
  EXPECT_EQ(DescribePanic(parse(R"({"action": 5, "info": []})")), "");
  EXPECT_EQ(DescribePanic(parse(R"({"info": {"type": "sev"}})")), "");
  EXPECT_EQ(DescribePanic(ParseGuestPanic(QmpObject())), "");
  EXPECT_EQ(DescribePanic(parse(R"({"info": {"type": "hyper-v", "arg1": -1, "arg2": "x"}})")),
            "Hyper-V 0x0 0x0 0x0 0x0 0x0");
  EXPECT_EQ(DescribePanic(parse(R"({"info": {"type": "s390", "core": 4294967296}})")),
            "s390 core 0, PSW 0x0 0x0, ");
  EXPECT_EQ(DescribePanic(parse(R"({"info": {"type": "tdx", "message": 3}})")),
            "TDX error 0x0, \"\"");
}

constexpr char kNoSpace[] =
    R"({"device": "", "node-name": "libvirt-1-format", "reason": "No space left on device", )"
    R"("operation": "write", "action": "stop", "nospace": true})";
constexpr char kPausedForSpace[] =
    "IO_ERROR: paused by QEMU after an I/O error: write on libvirt-1-format: No space left on "
    "device";

TEST_F(VmSessionEventTest, APauseForAnIoErrorHasTheDiskAndTheReason) {
  vm_.Event("BLOCK_IO_ERROR", kNoSpace);
  vm_.Event("BLOCK_IO_ERROR", R"({"device": "d1", "operation": "read", "action": "stop"})");
  vm_.Event("STOP");
  EXPECT_THAT(ProblemTexts(vm_.Status().problems()), ElementsAre(kPausedForSpace));
  vm_.RunState("io-error");
  EXPECT_THAT(ProblemTexts(vm_.Status().problems()), ElementsAre(kPausedForSpace));
  vm_.RestartAndAttach("io-error");
  EXPECT_THAT(ProblemTexts(vm_.Status().problems()), ElementsAre(kPausedForSpace));
  vm_.EndBy("host-qmp-quit", Exited(0));
  ExpectVerdict(vm_, ShutdownClass::kAdmin, ShutdownCause::kHostQuit);
  EXPECT_THAT(EvidenceOf(vm_.Stopped()),
              HasSubstr("I/O error, for which QEMU paused the VM: write on libvirt-1-format: No "
                        "space left on device; STOP; "));
}

TEST_F(VmSessionEventTest, MessagesSayWhatHappenedAndByWhom) {
  const struct {
    const char* event;
    const char* data;
    const char* message;
  } kCases[] = {
      {"RESET", R"({"guest": true, "reason": "guest-reset"})",
       "the VM was reset by its guest (guest-reset)"},
      {"RESET", R"({"guest": false, "reason": "host-qmp-system-reset"})",
       "the VM was reset by the host (host-qmp-system-reset)"},
      {"RESET", R"({"guest": true})", "the VM was reset by its guest"},
      {"RESET", "", "the VM was reset"},
      {"MIGRATION", R"({"status": "active"})", "the migration's status changed to active"},
      {"BLOCK_IO_ERROR",
       R"({"device": "disk0", "operation": "read", "action": "report", "reason": "bad"})",
       "a disk of the VM met an I/O error: read on disk0: bad"},
      {"BLOCK_IO_ERROR", "{}", "a disk of the VM met an I/O error"},
      {"BLOCK_JOB_ERROR", R"({"device": "job0", "operation": "write", "action": "stop"})",
       "a block job met an I/O error: write on job0"},
      {"BLOCK_IMAGE_CORRUPTED", R"({"device": "", "node-name": "n0", "msg": "bad L2 entry"})",
       "a disk image of the VM is corrupt: on n0: bad L2 entry"},
  };
  for (const auto& expected : kCases) {
    RunningVm vm;
    vm.Event(expected.event, expected.data);
    EXPECT_EQ(vm.Last().message(), expected.message);
    EXPECT_THAT(vm.Status().problems(), IsEmpty());
  }
}

}  // namespace
}  // namespace vmeventd
