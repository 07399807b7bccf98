// What somebody declared to intend with a run.

#include <csignal>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/session/process_ends.h"
#include "tests/watcher/session/running_vm.h"
#include "tests/watcher/session/story_suite.h"
#include "tests/watcher/session/verdicts.h"

namespace vmeventd {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

using VmSessionIntentTest = RunningVmTest;

TEST_F(VmSessionIntentTest, IsReportedWhenDeclaredReplacedAndWithdrawn) {
  vm_.Declare(absl::Minutes(10), "intent-0");
  const v1::Intent intent = vm_.Declare();
  EXPECT_EQ(vm_.events[vm_.events.size() - 2].intent().intent_id(), "intent-0");
  EXPECT_EQ(vm_.events[vm_.events.size() - 2].intent_end(), IntentEnd::kReplaced);
  EXPECT_EQ(vm_.Last().type(), EventType::kIntentDeclared);
  EXPECT_EQ(vm_.Last().intent().intent_id(), intent.intent_id());
  EXPECT_EQ(vm_.Last().message(), "ops intends to end the VM: maintenance");
  EXPECT_EQ(vm_.Status().intent().reason(), "maintenance");
  EXPECT_EQ(vm_.OpenIntent(), intent.intent_id());
  vm_.Withdraw();
  EXPECT_EQ(vm_.Last().type(), EventType::kIntentEnded);
  EXPECT_EQ(vm_.Last().intent_end(), IntentEnd::kWithdrawn);
  EXPECT_EQ(vm_.Last().intent().intent_id(), intent.intent_id());
  EXPECT_FALSE(vm_.Status().has_intent());
  EXPECT_EQ(vm_.OpenIntent(), "");
  vm_.End(Signal(SIGKILL));
  ExpectVerdict(vm_, ShutdownClass::kUnknown, ShutdownCause::kUnobserved);
  EXPECT_FALSE(vm_.Stopped().has_intent());
}

TEST_F(VmSessionIntentTest, ExpiresByTheMonotonicClockAndIsReportedThen) {
  vm_.Declare(absl::Minutes(1));
  vm_.StepClock(absl::Hours(5));
  vm_.Advance(absl::Seconds(59));
  EXPECT_NE(vm_.OpenIntent(), "");
  vm_.StepClock(-absl::Hours(10));
  vm_.Advance(absl::Seconds(1));
  EXPECT_EQ(vm_.OpenIntent(), "");
  EXPECT_EQ(vm_.Last().type(), EventType::kIntentEnded);
  EXPECT_THAT(vm_.Last().message(), HasSubstr("expired"));
  EXPECT_EQ(vm_.Last().intent_end(), IntentEnd::kExpired);
  vm_.EndBy("guest-shutdown");
  ExpectVerdict(vm_, ShutdownClass::kUser, ShutdownCause::kGuestPoweroff);
}

TEST_F(VmSessionIntentTest, AnIntentAfterADecidedEndIsRefused) {
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

TEST_F(VmSessionIntentTest, ARetryFindsItsOwnIntent) {
  EXPECT_EQ(vm_.IntentOfRequest("r1"), "");
  vm_.Declare(absl::Minutes(1), "intent-1", "r1");
  EXPECT_EQ(vm_.IntentOfRequest("r1"), "intent-1");
  EXPECT_EQ(vm_.IntentOfRequest("r2"), "");
  vm_.Restart();
  EXPECT_EQ(vm_.IntentOfRequest("r1"), "intent-1");
  vm_.Shutdown("guest-shutdown");
  vm_.Withdraw();
  EXPECT_EQ(vm_.IntentOfRequest("r1"), "intent-1") << "it has counted";
  vm_.Event("RESET");
  EXPECT_EQ(vm_.IntentOfRequest("r1"), "");
  vm_.Declare(absl::Minutes(1), "intent-2");
  EXPECT_EQ(vm_.IntentOfRequest(""), "") << "one without a request id has no retry";
}

TEST_F(VmSessionIntentTest, AnEndAfterTheExpiryIsNotIntendedEvenIfTheTimerIsLate) {
  Instant now = vm_.now();
  v1::Intent intent;
  *intent.mutable_expire_time() = ToTimestamp(now.wall + absl::Seconds(5));
  vm_.session().On(input::IntentDeclared{intent}, now);
  now.monotonic += absl::Seconds(5);
  now.wall += absl::Seconds(5);
  const Effects effects = vm_.session().On(input::ProcessGone{Signal(SIGKILL)}, now);
  std::vector<EventType> types;
  for (const Effect& effect : effects) {
    const auto* publish = std::get_if<Publish>(&effect);
    if (publish != nullptr) types.push_back(static_cast<EventType>(publish->update.event->type()));
  }
  EXPECT_THAT(types, ElementsAre(EventType::kIntentEnded));
  EXPECT_EQ(vm_.OpenIntent(), "");
}

TEST_F(VmSessionIntentTest, AnExpiredIntentIsSavedAsExpiredEvenAfterAnIgnoredEvent) {
  vm_.Declare(absl::Seconds(5));
  vm_.AdvanceWithoutTick(absl::Seconds(5));
  vm_.Event("RTC_CHANGE");  // the driver checks what is saved
  EXPECT_EQ(vm_.Last().type(), EventType::kIntentEnded);
  vm_.Restart();
  EXPECT_EQ(vm_.OpenIntent(), "");
}

TEST_F(VmSessionIntentTest, SurvivesARestartForTheTimeThatIsLeft) {
  vm_.Declare(absl::Minutes(1));
  vm_.Restart(absl::Seconds(30));
  EXPECT_EQ(vm_.Status().intent().intent_id(), "intent-1");
  vm_.Ready();
  vm_.StepClock(absl::Hours(3));
  vm_.Advance(absl::Seconds(29));
  EXPECT_NE(vm_.OpenIntent(), "");
  vm_.Advance(absl::Seconds(1));
  EXPECT_EQ(vm_.OpenIntent(), "");
}

// Each makes two events, which no limit of events holds back.
TEST_F(VmSessionIntentTest, IntentsBeyondTheRunsRateAreRefused) {
  int declared = 0;
  while (declared < 1000 && vm_.session().CheckIntent(vm_.now()).ok()) {
    vm_.Declare();
    vm_.Withdraw();
    ++declared;
  }
  EXPECT_EQ(declared, 100);
  const absl::Status refused = vm_.session().CheckIntent(vm_.now());
  EXPECT_TRUE(absl::IsResourceExhausted(refused)) << refused;
  vm_.Advance(absl::Seconds(2));
  EXPECT_TRUE(vm_.session().CheckIntent(vm_.now()).ok());
  vm_.Declare();
  EXPECT_FALSE(vm_.session().CheckIntent(vm_.now()).ok());
}

STORY_SUITE(IntentStoryTest);

const StoryCase kIntents[] = {
    {"APoweroffIsTheAdmins", "declare; SHUTDOWN guest-shutdown; end 0",
     "ADMIN GUEST_POWEROFF; intent intent-1"},
    {"ARebootIsTheAdmins", "declare; SHUTDOWN guest-reset; end 0",
     "ADMIN GUEST_REBOOT_EXIT; intent intent-1"},
    {"AQuitIsTheAdmins", "declare; SHUTDOWN host-qmp-quit; end 0",
     "ADMIN HOST_QUIT; intent intent-1"},
    {"AKillIsTheAdmins", "declare; end SIGKILL",
     "ADMIN UNOBSERVED; intent intent-1; seen QEMU was ended by SIGKILL, as intended"},
    {"AKillOfTheHostsIsTheAdmins", "declare; sent SIGKILL virtqemud; end SIGKILL",
     "ADMIN HOST_KILL; intent intent-1; seen sent QEMU SIGKILL. Seen:"},
    {"ASigtermIsTheAdmins", "declare; end SIGTERM", "ADMIN HOST_SIGNAL; intent intent-1"},
    {"AnEndThatIsNotKnownIsTheAdmins", "declare; end", "ADMIN PROCESS_EXITED; intent intent-1"},
    {"AnExitInOrderIsTheAdmins", "declare; end 0", "ADMIN UNOBSERVED; intent intent-1"},
    {"APanicStaysACrash", "declare; GUEST_PANICKED action=poweroff; end",
     "CRASH GUEST_PANIC; intent intent-1; seen the guest's kernel panicked. Seen:"},
    {"AWatchdogStaysACrash", "declare; WATCHDOG action=poweroff; end",
     "CRASH WATCHDOG; intent intent-1"},
    {"AShutdownByAPanicStaysACrash", "declare; SHUTDOWN guest-panic; end",
     "CRASH GUEST_PANIC; intent intent-1"},
    {"AnErrorOfTheHostStaysACrash", "declare; SHUTDOWN host-error; end",
     "CRASH HOST_ERROR; intent intent-1"},
    {"ASegvStaysACrash", "declare; end SIGSEGV", "CRASH QEMU_CRASHED; intent intent-1"},
    {"AnExitWithAnErrorStaysACrash", "declare; end 1", "CRASH QEMU_CRASHED; intent intent-1"},
    {"AnOomKillStaysACrash", "declare; end SIGKILL oom", "CRASH OUT_OF_MEMORY; intent intent-1"},
    {"AnIntentAfterTheShutdownIsShownAndChangesNothing", "SHUTDOWN guest-shutdown; declare; end",
     "USER GUEST_POWEROFF; intent intent-1"},
    {"AnIntentThatExpiredAfterTheShutdownCounts",
     "declare 5s; SHUTDOWN guest-shutdown; closed; wait 6s; declare; gone",
     "ADMIN GUEST_POWEROFF; intent intent-1"},
    {"AnIntentThatWasWithdrawnAfterTheShutdownCounts",
     "declare; SHUTDOWN guest-shutdown; closed; withdraw; declare; gone",
     "ADMIN GUEST_POWEROFF; intent intent-1"},
    {"TheTimeOfAnIntentStopsWhileTheNodeIsSuspended",
     "declare 10m; wait 9m; suspend 8h; SHUTDOWN guest-shutdown; end",
     "ADMIN GUEST_POWEROFF; intent intent-1"},
    {"AnIntentExpiresOnceTheNodeHasRunForItsTime",
     "declare 10m; wait 9m; suspend 8h; wait 1m; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF"},
    {"AnIntentThatHasCountedIsSaved", "declare 5s; SHUTDOWN guest-shutdown; wait 6s; restart; gone",
     "ADMIN GUEST_POWEROFF; intent intent-1"},
    {"AnIntentCountsAgainAfterAReset",
     "SHUTDOWN guest-shutdown; STOP; declare; RESET; SHUTDOWN guest-shutdown; end",
     "ADMIN GUEST_POWEROFF; intent intent-1"},
    {"AnIntentCountsAgainAfterAResume",
     "SHUTDOWN guest-shutdown; STOP; declare; RESUME; SHUTDOWN guest-shutdown; end",
     "ADMIN GUEST_POWEROFF; intent intent-1"},
    {"AnIntentThatCountedForATakenBackEndIsForgotten",
     "declare 5s; SHUTDOWN guest-shutdown; STOP; wait 6s; RESET; SHUTDOWN guest-shutdown; end",
     "USER GUEST_POWEROFF"},
    {"AnEndThatNobodySawIsTheAdmins", "declare 1m; restart 30s; gone",
     "ADMIN UNOBSERVED; intent intent-1"},
    {"AnEndThatNobodySawAfterItsTimeIsUnknown", "declare 1m; restart 2m; gone",
     "UNKNOWN UNOBSERVED"},
    {"ARebootIsNoEndThatWasSeen", "declare; restart; rebooted",
     "UNKNOWN UNOBSERVED; intent intent-1"},
    {"AnIntentIsInTheEvidenceAtItsTime",
     "POWERDOWN; wait 1s; declare; wait 1s; SHUTDOWN guest-shutdown; end",
     "ADMIN HOST_POWERDOWN; intent intent-1; seen POWERDOWN, intent declared by ops, SHUTDOWN "
     "reason=guest-shutdown"},
    {"AGuestThatIsDownHasIt",
     "declare; SHUTDOWN guest-shutdown; STOP; last GUEST_SHUTDOWN ADMIN; end",
     "ADMIN GUEST_POWEROFF; intent intent-1"},
};
STORIES(IntentStoryTest, Intents, kIntents);

}  // namespace
}  // namespace vmeventd
