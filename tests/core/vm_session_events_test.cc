#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/core/session_driver.h"
#include "watcher/core/vm_session.h"

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
  SessionDriver vm;
  vm.Ready();
  vm.Line(absl::StrCat(R"({"event": ")", GetParam().name, R"(", "data": )", GetParam().data,
                       R"(, "timestamp": {"seconds": 1795157127, "microseconds": 5}})"));
  ASSERT_THAT(vm.Types(), ElementsAre(EventType::kStarted, GetParam().type));
  EXPECT_EQ(vm.Last().qmp_event, GetParam().name);
  EXPECT_EQ(vm.Last().detail_json, GetParam().data);
  EXPECT_EQ(vm.Last().qemu_time, absl::FromUnixMicros(1795157127000005));
  EXPECT_THAT(vm.Last().message, Not(IsEmpty()));
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

TEST(VmSessionEventTest, EvidenceQuotesNoLongText) {
  SessionDriver vm;
  vm.Ready();
  std::string reason = "guest-";
  for (int i = 0; i < 100'000; ++i) reason += "\xC3\xA4";
  vm.Shutdown(reason);
  vm.End();
  ASSERT_TRUE(vm.Last().shutdown.has_value());
  const std::string& what = vm.Last().shutdown->evidence.at(0).what;
  EXPECT_THAT(what, testing::StartsWith("SHUTDOWN reason=guest-"));
  EXPECT_THAT(what, testing::EndsWith("\xC3\xA4..."));
  EXPECT_LE(what.size(), 515u);
}

TEST(VmSessionEventTest, AShutdownDuringTheHandshakeOutranksTheRunStateThatItTold) {
  SessionDriver vm;
  vm.Shutdown("guest-shutdown");
  vm.Ready("running");
  EXPECT_EQ(vm.session().Status().state, VmState::kGuestDown);
  vm.Gone();
  EXPECT_EQ(vm.Last().shutdown->shutdown_class, ShutdownClass::kUser);
}

TEST(VmSessionEventTest, AResetDuringTheHandshakeTakesTheShutdownBack) {
  SessionDriver vm;
  vm.Shutdown("guest-shutdown");
  vm.Event("RESET", R"({"guest": false})");
  vm.Ready("running");
  EXPECT_EQ(vm.session().Status().state, VmState::kRunning);
}

TEST(VmSessionEventTest, WhatIsNoLifecycleIsNotPublished) {
  SessionDriver vm;
  vm.Ready();
  vm.Event("RTC_CHANGE", R"({"offset": 78})");
  vm.Event("NIC_RX_FILTER_CHANGED");
  EXPECT_THAT(vm.Types(), ElementsAre(EventType::kStarted));
}

TEST(VmSessionEventTest, OneRebootIsOneReset) {
  SessionDriver vm;
  vm.Ready();
  for (int i = 0; i < 3; ++i) {
    vm.Event("RESET", R"({"guest": true, "reason": "guest-reset"})");
    vm.Advance(absl::Milliseconds(25));
  }
  vm.Advance(absl::Seconds(20));
  vm.Event("RESET", R"({"guest": true, "reason": "guest-reset"})");
  EXPECT_THAT(vm.Types(), ElementsAre(EventType::kStarted, EventType::kReset, EventType::kReset));
}

TEST(VmSessionEventTest, StopAndContAreTwoEventsAndTwoStates) {
  SessionDriver vm;
  vm.Ready();
  vm.Event("STOP");
  EXPECT_EQ(vm.Status().state, VmState::kPaused);
  vm.Event("RESUME");
  EXPECT_EQ(vm.Status().state, VmState::kRunning);
  EXPECT_THAT(vm.Types(),
              ElementsAre(EventType::kStarted, EventType::kPaused, EventType::kResumed));
}

TEST(VmSessionEventTest, TheFirstResumeOfAStartingQemuIsNoNews) {
  SessionDriver vm;
  vm.Event("RESUME");
  vm.Ready("running");
  EXPECT_THAT(vm.Types(), ElementsAre(EventType::kStarted));
}

TEST(VmSessionEventTest, SuspendAndWakeupAreStates) {
  SessionDriver vm;
  vm.Ready();
  vm.Event("SUSPEND");
  EXPECT_EQ(vm.Status().state, VmState::kSuspended);
  vm.Event("WAKEUP");
  EXPECT_EQ(vm.Status().state, VmState::kRunning);
}

TEST(VmSessionFloodTest, AFloodIsCutAndToldOnce) {
  SessionDriver vm;
  vm.Ready();
  for (int i = 0; i < 1000; ++i) vm.Event("MEMORY_FAILURE", R"({"recipient": "guest"})");
  EXPECT_THAT(vm.events, SizeIs(1 + EventLimiter::kBurst));
  vm.Advance(absl::Seconds(1));
  ASSERT_THAT(vm.events, SizeIs(2 + EventLimiter::kBurst));
  EXPECT_EQ(vm.Last().type, EventType::kGap);
  EXPECT_THAT(vm.Last().message, HasSubstr("800 events"));
  vm.Advance(absl::Hours(1));
  EXPECT_EQ(vm.Last().type, EventType::kGap);
  EXPECT_THAT(vm.events, SizeIs(2 + EventLimiter::kBurst));
}

TEST(VmSessionFloodTest, EvidenceIsNeitherCutNorLost) {
  SessionDriver vm;
  vm.Ready();
  for (int i = 0; i < 1000; ++i) vm.Event("MEMORY_FAILURE");
  vm.Event("POWERDOWN");
  EXPECT_EQ(vm.Last().type, EventType::kPowerdownRequested);
  vm.Shutdown("guest-shutdown");
  vm.End();
  EXPECT_EQ(vm.Stopped().cause, ShutdownCause::kHostPowerdown);
  EXPECT_EQ(vm.events[vm.events.size() - 2].type, EventType::kGap) << "told before the last event";
}

TEST(VmSessionFloodTest, AGuestCannotFloodWithPanics) {
  SessionDriver vm;
  vm.Ready();
  for (int i = 0; i < 1000; ++i) vm.Event("GUEST_PANICKED", R"({"action": "run"})");
  EXPECT_THAT(vm.events, SizeIs(2 + EventLimiter::kBurst));
  vm.End();
  EXPECT_EQ(vm.Stopped().cause, ShutdownCause::kGuestPanic);
  EXPECT_THAT(vm.Stopped().evidence, SizeIs(3)) << "a repetition is one line of evidence";
}

TEST(VmSessionFloodTest, EvidenceIsBounded) {
  SessionDriver vm;
  vm.Ready();
  for (int i = 0; i < 1000; ++i) {
    vm.Event("GUEST_PANICKED", absl::StrCat(R"({"action": "run)", i, R"("})"));
  }
  vm.End();
  EXPECT_LE(vm.Stopped().evidence.size(), 20u);
  EXPECT_EQ(vm.Stopped().cause, ShutdownCause::kGuestPanic);
}

}  // namespace
}  // namespace vmeventd
