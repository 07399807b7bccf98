#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "server/access/access_policy.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kNow = absl::Hours(1);

TEST(RateLimiter, PassesABurstAndThenTheRate) {
  RateLimiter limiter(10, 3, 100);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(limiter.Take("a", kNow), absl::ZeroDuration());
  EXPECT_EQ(limiter.Take("a", kNow), absl::Milliseconds(100));
  EXPECT_EQ(limiter.Take("b", kNow), absl::ZeroDuration()) << "each key has its own bucket";
  EXPECT_EQ(limiter.Take("a", kNow + absl::Milliseconds(50)), absl::Milliseconds(50));
  EXPECT_EQ(limiter.Take("a", kNow + absl::Milliseconds(100)), absl::ZeroDuration());
  EXPECT_GT(limiter.Take("a", kNow + absl::Milliseconds(100)), absl::ZeroDuration());
}

TEST(RateLimiter, AccumulatesAtMostABurst) {
  RateLimiter limiter(10, 2, 100);
  limiter.Take("a", kNow);
  const absl::Duration later = kNow + absl::Hours(5);
  EXPECT_EQ(limiter.Take("a", later), absl::ZeroDuration());
  EXPECT_EQ(limiter.Take("a", later), absl::ZeroDuration());
  EXPECT_GT(limiter.Take("a", later), absl::ZeroDuration());
}

TEST(RateLimiter, ManyKeysDoNotBypassIt) {
  RateLimiter limiter(1, 5, 10);
  for (int i = 0; i < 10; ++i) limiter.Take(absl::StrCat("key", i), kNow);
  int through = 0;
  for (int i = 0; i < 100; ++i) {
    through += limiter.Take(absl::StrCat("other", i), kNow) == absl::ZeroDuration() ? 1 : 0;
  }
  EXPECT_EQ(through, 5) << "they share one bucket";
  EXPECT_EQ(limiter.Take("new", kNow + absl::Seconds(10)), absl::ZeroDuration())
      << "idle keys have made room";
}

}  // namespace
}  // namespace vmeventd
