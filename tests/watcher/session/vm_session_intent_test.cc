// What somebody declared to intend with a run.

#include <csignal>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/session/session_driver.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

void ExpectIntended(const SessionDriver& vm, ShutdownCause cause) {
  ExpectVerdict(vm, ShutdownClass::kAdmin, cause);
  ASSERT_TRUE(vm.Stopped().intent.has_value());
  EXPECT_EQ(vm.Stopped().intent->actor, "ops");
}

TEST(VmSessionIntentTest, IsToldWhenDeclaredAndWithdrawn) {
  RunningVm vm;
  const Intent intent = vm.Declare();
  EXPECT_EQ(vm.Last().type, EventType::kIntentDeclared);
  EXPECT_EQ(vm.Last().intent->intent_id, intent.intent_id);
  EXPECT_EQ(vm.Last().message, "ops intends to end the VM: maintenance");
  EXPECT_EQ(vm.Status().intent->reason, "maintenance");
  EXPECT_EQ(vm.session().open_intent()->intent_id, intent.intent_id);
  vm.Withdraw();
  EXPECT_EQ(vm.Last().type, EventType::kIntentWithdrawn);
  EXPECT_EQ(vm.Last().intent_end, IntentEnd::kWithdrawn);
  EXPECT_EQ(vm.Last().intent->intent_id, intent.intent_id);
  EXPECT_FALSE(vm.Status().intent.has_value());
  EXPECT_EQ(vm.session().open_intent(), nullptr);
  vm.End(Signal(SIGKILL));
  ExpectVerdict(vm, ShutdownClass::kCrash, ShutdownCause::kQemuKilled);
  EXPECT_FALSE(vm.Stopped().intent.has_value());
}

TEST(VmSessionIntentTest, ExpiresByTheMonotonicClockAndIsToldThen) {
  RunningVm vm;
  vm.Declare(absl::Minutes(1));
  vm.StepClock(absl::Hours(5));
  vm.Advance(absl::Seconds(59));
  EXPECT_NE(vm.session().open_intent(), nullptr);
  vm.StepClock(-absl::Hours(10));
  vm.Advance(absl::Seconds(1));
  EXPECT_EQ(vm.session().open_intent(), nullptr);
  EXPECT_EQ(vm.Last().type, EventType::kIntentWithdrawn);
  EXPECT_THAT(vm.Last().message, HasSubstr("expired"));
  EXPECT_EQ(vm.Last().intent_end, IntentEnd::kExpired);
  vm.EndBy("guest-shutdown");
  ExpectVerdict(vm, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
}

TEST(VmSessionIntentTest, OverridesTheClassAndLeavesTheCause) {
  const struct {
    const char* reason;
    ShutdownCause cause;
  } kCases[] = {
      {"guest-shutdown", ShutdownCause::kGuestPoweroff},
      {"guest-reset", ShutdownCause::kGuestRebootExit},
      {"host-qmp-quit", ShutdownCause::kHostQuit},
      {"host-signal", ShutdownCause::kHostSignal},
  };
  for (const auto& expected : kCases) {
    RunningVm vm;
    vm.Declare();
    vm.Shutdown(expected.reason);
    vm.End({ExitStatus{0, 0}, false});
    ExpectIntended(vm, expected.cause);
  }
}

TEST(VmSessionIntentTest, CountsWhateverSignalWasUsed) {
  const struct {
    ProcessEnd end;
    ShutdownCause cause;
  } kCases[] = {
      {Signal(SIGKILL), ShutdownCause::kQemuKilled},
      {Signal(SIGTERM), ShutdownCause::kHostSignal},
      {{}, ShutdownCause::kProcessExited},
      {{ExitStatus{0, 0}, false}, ShutdownCause::kProcessExited},
  };
  for (const auto& expected : kCases) {
    RunningVm vm;
    vm.Declare();
    vm.End(expected.end);
    ExpectIntended(vm, expected.cause);
  }
}

TEST(VmSessionIntentTest, StoppedNamesActorAndReasonAndDoesNotContradictThem) {
  RunningVm vm;
  vm.Declare();
  vm.End(Signal(SIGKILL));
  EXPECT_THAT(vm.Last().message,
              testing::StartsWith(
                  "ADMIN: QEMU was killed (SIGKILL), as ops intended (maintenance). Seen:"));

  RunningVm crash;
  crash.Declare();
  crash.Event("GUEST_PANICKED", R"({"action": "poweroff"})");
  crash.End({});
  EXPECT_THAT(crash.Last().message,
              testing::StartsWith("CRASH: the guest's kernel panicked. Seen:"));
}

TEST(VmSessionIntentTest, WhatNobodyIntendsStaysACrashAndTheIntentIsShown) {
  const struct {
    const char* event;
    const char* data;
    ProcessEnd end;
    ShutdownCause cause;
  } kCases[] = {
      {"GUEST_PANICKED", R"({"action": "poweroff"})", {}, ShutdownCause::kGuestPanic},
      {"WATCHDOG", R"({"action": "poweroff"})", {}, ShutdownCause::kWatchdog},
      {"SHUTDOWN", R"({"guest": true, "reason": "guest-panic"})", {}, ShutdownCause::kGuestPanic},
      {"SHUTDOWN", R"({"guest": false, "reason": "host-error"})", {}, ShutdownCause::kHostError},
      {"WAKEUP", "{}", Signal(SIGSEGV), ShutdownCause::kQemuCrashed},
      {"WAKEUP", "{}", Signal(SIGABRT), ShutdownCause::kQemuCrashed},
      {"WAKEUP", "{}", {ExitStatus{1, 0}, false}, ShutdownCause::kQemuCrashed},
      {"WAKEUP", "{}", {ExitStatus{0, SIGKILL}, true}, ShutdownCause::kOutOfMemory},
  };
  for (const auto& expected : kCases) {
    RunningVm vm;
    vm.Declare();
    vm.Event(expected.event, expected.data);
    vm.End(expected.end);
    ExpectVerdict(vm, ShutdownClass::kCrash, expected.cause);
    EXPECT_EQ(vm.Stopped().intent->intent_id, "intent-1");
  }
}

TEST(VmSessionIntentTest, WhatWouldNotCountIsRefused) {
  const struct {
    const char* event;
    const char* data;
    const char* what;
  } kCases[] = {
      {"SHUTDOWN", R"({"guest": true, "reason": "guest-shutdown"})", "guest-poweroff"},
      {"SHUTDOWN", R"({"guest": false, "reason": "host-signal"})", "host-signal"},
      {"GUEST_PANICKED", R"({"action": "pause"})", "guest-panic"},
      {"WATCHDOG", R"({"action": "shutdown"})", "watchdog"},
  };
  for (const auto& decided : kCases) {
    RunningVm vm;
    EXPECT_TRUE(vm.session().CheckIntent(vm.now()).ok());
    vm.Event(decided.event, decided.data);
    const absl::Status refused = vm.session().CheckIntent(vm.now());
    EXPECT_TRUE(absl::IsFailedPrecondition(refused));
    EXPECT_THAT(std::string(refused.message()), HasSubstr(decided.what));
    vm.Event("RESET");
    EXPECT_TRUE(vm.session().CheckIntent(vm.now()).ok()) << "alive again";
  }
}

TEST(VmSessionIntentTest, ARetryFindsItsOwn) {
  RunningVm vm;
  EXPECT_EQ(vm.session().IntentOfRequest("r1"), nullptr);
  vm.Declare(absl::Minutes(1), "intent-1", "r1");
  EXPECT_EQ(vm.session().IntentOfRequest("r1")->intent_id, "intent-1");
  EXPECT_EQ(vm.session().IntentOfRequest("r2"), nullptr);
  vm.Restart();
  EXPECT_EQ(vm.session().IntentOfRequest("r1")->intent_id, "intent-1");
  vm.Shutdown("guest-shutdown");
  vm.Withdraw();
  EXPECT_EQ(vm.session().IntentOfRequest("r1")->intent_id, "intent-1") << "it has counted";
  vm.Event("RESET");
  EXPECT_EQ(vm.session().IntentOfRequest("r1"), nullptr);
  vm.Declare(absl::Minutes(1), "intent-2");
  EXPECT_EQ(vm.session().IntentOfRequest(""), nullptr) << "one without a request id has no retry";
}

TEST(VmSessionIntentTest, DeclaredAfterTheShutdownItIsShownAndChangesNothing) {
  RunningVm vm;
  vm.Shutdown("guest-shutdown");
  vm.Declare();
  vm.End();
  ExpectVerdict(vm, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
  EXPECT_EQ(vm.Stopped().intent->intent_id, "intent-1");
}

TEST(VmSessionIntentTest, ExpiredOrWithdrawnAfterTheShutdownItHasCounted) {
  for (const bool expires : {false, true}) {
    RunningVm vm;
    vm.Declare(absl::Seconds(5));
    vm.Shutdown("guest-shutdown");
    vm.Closed();
    if (expires) {
      vm.Advance(absl::Seconds(6));
    } else {
      vm.Withdraw();
    }
    EXPECT_FALSE(vm.Status().intent.has_value());
    vm.Declare(absl::Minutes(1), "intent-2");
    vm.Gone();
    ExpectIntended(vm, ShutdownCause::kGuestPoweroff);
    EXPECT_EQ(vm.Stopped().intent->intent_id, "intent-1");
    EXPECT_EQ(vm.file, false);
  }
}

TEST(VmSessionIntentTest, CountsAgainForAVmThatCameBackToLife) {
  for (const char* back : {"RESET", "RESUME"}) {
    RunningVm vm;
    vm.Shutdown("guest-shutdown");
    vm.Event("STOP");
    vm.Declare();
    vm.Event(back);
    vm.EndBy("guest-shutdown");
    ExpectIntended(vm, ShutdownCause::kGuestPoweroff);
  }
}

TEST(VmSessionIntentTest, OneThatCountedForAnEndThatWasNoneIsForgotten) {
  RunningVm vm;
  vm.Declare(absl::Seconds(5));
  vm.Shutdown("guest-shutdown");
  vm.Event("STOP");
  vm.Advance(absl::Seconds(6));
  vm.Event("RESET");
  vm.EndBy("guest-shutdown");
  ExpectVerdict(vm, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
  EXPECT_FALSE(vm.Stopped().intent.has_value());
}

TEST(VmSessionIntentTest, AnEventAfterItsTimeDoesNotCountForItEvenIfTheTimerIsLate) {
  RunningVm vm;
  Instant now = vm.now();
  const Intent intent{"late", "ops", "", now.wall + absl::Seconds(5)};
  vm.session().OnIntentDeclared(intent, now);
  now.monotonic += absl::Seconds(5);
  now.wall += absl::Seconds(5);
  const Effects effects = vm.session().OnProcessGone(now, Signal(SIGKILL));
  std::vector<EventType> types;
  for (const Effect& effect : effects) {
    const auto* publish = std::get_if<Publish>(&effect);
    if (publish != nullptr) types.push_back(publish->update.event->type);
  }
  EXPECT_THAT(types, ElementsAre(EventType::kIntentWithdrawn));
  EXPECT_EQ(vm.session().open_intent(), nullptr);
}

TEST(VmSessionIntentTest, OneThatAnUnknownEventFindsExpiredIsKeptAsSuch) {
  RunningVm vm;
  vm.Declare(absl::Seconds(5));
  vm.AdvanceWithoutTick(absl::Seconds(5));
  vm.Event("RTC_CHANGE");  // the driver checks what is kept
  EXPECT_EQ(vm.Last().type, EventType::kIntentWithdrawn);
  vm.Restart();
  EXPECT_EQ(vm.session().open_intent(), nullptr);
}

TEST(VmSessionIntentTest, SurvivesARestartForTheTimeThatIsLeft) {
  RunningVm vm;
  vm.Declare(absl::Minutes(1));
  vm.Restart(absl::Seconds(30));
  EXPECT_EQ(vm.Status().intent->intent_id, "intent-1");
  vm.Ready();
  vm.StepClock(absl::Hours(3));
  vm.Advance(absl::Seconds(29));
  EXPECT_NE(vm.session().open_intent(), nullptr);
  vm.Advance(absl::Seconds(1));
  EXPECT_EQ(vm.session().open_intent(), nullptr);
}

TEST(VmSessionIntentTest, AnEndThatNobodySawCountsIfTheIntentHadNotExpired) {
  for (const bool expired : {false, true}) {
    RunningVm vm;
    vm.Declare(absl::Minutes(1));
    vm.Restart(expired ? absl::Minutes(2) : absl::Seconds(30));
    vm.Gone();
    if (expired) {
      ExpectVerdict(vm, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
      EXPECT_FALSE(vm.Stopped().intent.has_value());
    } else {
      ExpectIntended(vm, ShutdownCause::kUnobserved);
    }
  }
}

TEST(VmSessionIntentTest, WhatCountedIsKeptAcrossARestart) {
  RunningVm vm;
  vm.Declare(absl::Seconds(5));
  vm.Shutdown("guest-shutdown");
  vm.Advance(absl::Seconds(6));
  vm.Restart();
  vm.Gone();
  ExpectIntended(vm, ShutdownCause::kGuestPoweroff);
}

TEST(VmSessionIntentTest, ARebootIsNoEndThatWasSeen) {
  RunningVm vm;
  vm.Declare();
  vm.Restart();
  vm.Rebooted();
  ExpectVerdict(vm, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
  EXPECT_TRUE(vm.Stopped().intent.has_value());
}

TEST(VmSessionIntentTest, AFileThatWasWrittenSaysThatTheShutdownCameFirst) {
  RunningVm vm;
  vm.Declare();
  vm.Restart();
  vm.FoundShutdownFile(vm.now().wall - absl::Seconds(1));
  vm.Gone();
  ExpectVerdict(vm, ShutdownClass::kUser, ShutdownCause::kGuestRequest);
}

TEST(VmSessionIntentTest, StandsInTheEvidenceAtItsTime) {
  RunningVm vm;
  vm.Event("POWERDOWN");
  vm.Advance(absl::Seconds(1));
  vm.Declare();
  vm.Advance(absl::Seconds(1));
  vm.EndBy("guest-shutdown");
  std::vector<std::string> seen;
  for (const EvidenceEntry& entry : vm.Stopped().evidence) seen.push_back(entry.what);
  ASSERT_GE(seen.size(), 3u);
  seen.resize(3);
  EXPECT_THAT(seen,
              ElementsAre("POWERDOWN", "intent declared by ops", "SHUTDOWN reason=guest-shutdown"));
  EXPECT_FALSE(vm.statuses.back().intent.has_value()) << "it ended with the run";
}

TEST(VmSessionIntentTest, IsOfTheGuestThatIsDownAsWell) {
  RunningVm vm;
  vm.Declare();
  vm.Shutdown("guest-shutdown");
  vm.Event("STOP");
  EXPECT_EQ(vm.Last().type, EventType::kGuestShutdown);
  EXPECT_EQ(vm.Last().shutdown->shutdown_class, ShutdownClass::kAdmin);
  EXPECT_EQ(vm.Last().shutdown->intent->intent_id, "intent-1");
}

// Each makes two events, which no limit of events holds back.
TEST(VmSessionIntentTest, SoManyAreDeclaredForARunAndNoMore) {
  RunningVm vm;
  int declared = 0;
  while (declared < 1000 && vm.session().CheckIntent(vm.now()).ok()) {
    vm.Declare();
    vm.Withdraw();
    ++declared;
  }
  EXPECT_EQ(declared, 100);
  const absl::Status refused = vm.session().CheckIntent(vm.now());
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  vm.Advance(absl::Seconds(2));
  EXPECT_TRUE(vm.session().CheckIntent(vm.now()).ok());
  vm.Declare();
  EXPECT_FALSE(vm.session().CheckIntent(vm.now()).ok());
}

TEST(VmSessionIntentTest, WithoutLimitsOfEventsThereIsNone) {
  RunningVm vm({.event_limits = false});
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(vm.session().CheckIntent(vm.now()).ok());
    vm.Declare();
    vm.Withdraw();
  }
}

}  // namespace
}  // namespace vmeventd
