// The rate limits of events.

#include "watcher/session/event_limiter.h"

#include "gtest/gtest.h"
#include "vmeventd/contract/enums.h"

namespace vmeventd {
namespace {

int AdmittedOf(EventLimiter* limiter, EventType type, int events, absl::Duration now) {
  int admitted = 0;
  for (int i = 0; i < events; ++i) admitted += limiter->Admit(type, now) ? 1 : 0;
  return admitted;
}
int AdmittedOf(EventLimiter* limiter, int events, absl::Duration now) {
  return AdmittedOf(limiter, EventType::kIoError, events, now);
}

TEST(EventLimiterTest, AdmitsABurstAndCountsDroppedEvents) {
  EventLimiter limiter;
  EXPECT_EQ(AdmittedOf(&limiter, 1000, absl::Seconds(5)), EventLimiter::kBurst);
  EXPECT_EQ(limiter.dropped(), 1000u - EventLimiter::kBurst);
}

TEST(EventLimiterTest, RefillsWithTime) {
  EventLimiter limiter;
  AdmittedOf(&limiter, 1000, absl::Seconds(5));
  EXPECT_EQ(AdmittedOf(&limiter, 1000, absl::Seconds(6)), EventLimiter::kPerSecond);
  EXPECT_EQ(AdmittedOf(&limiter, 1000, absl::Seconds(3600)), EventLimiter::kBurst);
}

TEST(EventLimiterTest, ChangesOfStateAreAdmittedDuringAFloodAndChargedLater) {
  constexpr int kReserve = EventLimiter::kReserve;
  EventLimiter limiter;
  AdmittedOf(&limiter, 1000, absl::Seconds(5));
  EXPECT_EQ(AdmittedOf(&limiter, EventType::kMigration, 1000, absl::Seconds(5)), 0);
  EXPECT_EQ(AdmittedOf(&limiter, EventType::kReset, 1, absl::Seconds(5)), 1);
  EXPECT_EQ(AdmittedOf(&limiter, EventType::kPowerdownRequested, 1000, absl::Seconds(5)),
            kReserve - 1);
  EXPECT_EQ(AdmittedOf(&limiter, 1000, absl::Seconds(7)), 2 * EventLimiter::kPerSecond - kReserve);
}

TEST(EventLimiterTest, ALongFloodOfAllTypesKeepsTheRate) {
  EventLimiter limiter;
  int admitted = 0;
  for (int ms = 0; ms < 100'000; ++ms) {
    for (int type = 3; type <= static_cast<int>(kLastEventType); ++type) {
      admitted += limiter.Admit(static_cast<EventType>(type), absl::Milliseconds(ms)) ? 1 : 0;
    }
  }
  EXPECT_LE(admitted, EventLimiter::kBurst + EventLimiter::kPerSecond * 100 + 20);
  EXPECT_GE(admitted, EventLimiter::kBurst + EventLimiter::kPerSecond * 99);
}

TEST(EventLimiterTest, OneReportCoversAFlood) {
  EventLimiter limiter;
  AdmittedOf(&limiter, EventLimiter::kBurst, absl::Seconds(5));
  EXPECT_FALSE(limiter.has_drops());
  EXPECT_EQ(limiter.ReportAt(), absl::InfiniteDuration());

  AdmittedOf(&limiter, 3, absl::Seconds(5));
  EXPECT_TRUE(limiter.has_drops());
  EXPECT_EQ(limiter.ReportAt(), absl::Seconds(5) + EventLimiter::kQuiet);
  for (int ms = 5'000; ms < 100'000; ms += 10) AdmittedOf(&limiter, 1, absl::Milliseconds(ms));
  EXPECT_EQ(limiter.ReportAt(), absl::Seconds(5) + EventLimiter::kMaxFlood);

  EXPECT_EQ(limiter.TakeDrops(), limiter.dropped());
  EXPECT_FALSE(limiter.has_drops());
  EXPECT_EQ(limiter.TakeDrops(), 0u);
}

}  // namespace
}  // namespace vmeventd
