// What somebody declared to intend with a run.

#include <csignal>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/watcher/session/session_driver.h"

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

TEST_F(VmSessionIntentTest, AnIntentThatCannotCountIsRefused) {
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

TEST_F(VmSessionIntentTest, ARetryFindsItsOwn) {
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

TEST_F(VmSessionIntentTest, AnEventAfterItsTimeDoesNotCountForItEvenIfTheTimerIsLate) {
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
  vm_.Event("RTC_CHANGE");  // the driver checks what is kept
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
TEST_F(VmSessionIntentTest, SoManyAreDeclaredForARunAndNoMore) {
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

}  // namespace
}  // namespace vmeventd
