#include "watcher/core/event_limiter.h"

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

int AdmittedOf(EventLimiter* limiter, int events, absl::Duration now) {
  int admitted = 0;
  for (int i = 0; i < events; ++i) admitted += limiter->Admit(now) ? 1 : 0;
  return admitted;
}

TEST(EventLimiterTest, AdmitsABurstAndCountsTheRest) {
  EventLimiter limiter;
  EXPECT_EQ(AdmittedOf(&limiter, 1000, absl::Seconds(5)), EventLimiter::kBurst);
  EXPECT_TRUE(limiter.has_dropped());
  EXPECT_EQ(limiter.TakeDropped(), 1000u - EventLimiter::kBurst);
  EXPECT_FALSE(limiter.has_dropped());
}

TEST(EventLimiterTest, RefillsWithTime) {
  EventLimiter limiter;
  AdmittedOf(&limiter, 1000, absl::Seconds(5));
  EXPECT_EQ(AdmittedOf(&limiter, 1000, absl::Seconds(6)), EventLimiter::kPerSecond);
  EXPECT_EQ(AdmittedOf(&limiter, 1000, absl::Seconds(3600)), EventLimiter::kBurst);
}

}  // namespace
}  // namespace vmeventd
