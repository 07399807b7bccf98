#include "server/access/rate_limiter.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace vmeventd {
namespace {

constexpr absl::Duration kMoment = absl::Hours(1);

TEST(RateLimiter, PassesABurstAndThenTheRate) {
  RateLimiter limiter(10, 3, 100);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(limiter.Take("a", kMoment), absl::ZeroDuration());
  EXPECT_EQ(limiter.Take("a", kMoment), absl::Milliseconds(100));
  EXPECT_EQ(limiter.Take("b", kMoment), absl::ZeroDuration()) << "each key has its own bucket";
  EXPECT_EQ(limiter.Take("a", kMoment + absl::Milliseconds(50)), absl::Milliseconds(50));
  EXPECT_EQ(limiter.Take("a", kMoment + absl::Milliseconds(100)), absl::ZeroDuration());
  EXPECT_GT(limiter.Take("a", kMoment + absl::Milliseconds(100)), absl::ZeroDuration());
}

TEST(RateLimiter, ManyKeysDoNotBypassTheLimit) {
  RateLimiter limiter(1, 5, 10);
  for (int i = 0; i < 10; ++i) limiter.Take(absl::StrCat("key", i), kMoment);
  int through = 0;
  for (int i = 0; i < 100; ++i) {
    through += limiter.Take(absl::StrCat("other", i), kMoment) == absl::ZeroDuration() ? 1 : 0;
  }
  EXPECT_EQ(through, 5) << "they share one bucket";
  EXPECT_EQ(limiter.Take("new", kMoment + absl::Seconds(10)), absl::ZeroDuration())
      << "idle keys have made room";
}

}  // namespace
}  // namespace vmeventd
