#include "server/eventlog/retention_clock.h"

#include <gtest/gtest.h>

namespace vmeventd {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1'800'000'000);
constexpr absl::Duration kYear = absl::Hours(24 * 365);

// `after`: how much time has really passed; `ahead`: by how much the wall clock is wrong.
Instant After(absl::Duration after, absl::Duration ahead = absl::ZeroDuration()) {
  return {kStart + after + ahead, absl::Seconds(1000) + after};
}

TEST(RetentionClock, IsTheWallClockAsLongAsThatRunsAndAfterSmallSteps) {
  RetentionClock clock(kStart - absl::Hours(1));
  EXPECT_EQ(clock.Read(After(absl::ZeroDuration())), kStart);
  EXPECT_EQ(clock.Read(After(absl::Hours(1000))), kStart + absl::Hours(1000));
  EXPECT_EQ(clock.Read(After(absl::Hours(1001), absl::Minutes(59))),
            kStart + absl::Hours(1001) + absl::Minutes(59));
  EXPECT_EQ(clock.Read(After(absl::Hours(1002), -kYear)), kStart + absl::Hours(1002) - kYear)
      << "a step back deletes nothing";
  EXPECT_EQ(clock.TakeStep(), std::nullopt);
}

TEST(RetentionClock, DoesNotBelieveAStepAheadThatIsTakenBack) {
  RetentionClock clock(absl::InfinitePast());
  clock.Read(After(absl::ZeroDuration()));
  EXPECT_EQ(clock.Read(After(absl::Hours(1), kYear)), kStart + absl::Hours(1));
  EXPECT_EQ(clock.TakeStep(), kYear);
  EXPECT_EQ(clock.Read(After(absl::Hours(20), kYear)), kStart + absl::Hours(20));
  EXPECT_EQ(clock.TakeStep(), std::nullopt) << "it is said once";
  EXPECT_EQ(clock.Read(After(absl::Hours(21))), kStart + absl::Hours(21));
  EXPECT_EQ(clock.Read(After(absl::Hours(40), kYear)), kStart + absl::Hours(40))
      << "another step, with a hold of its own";
  EXPECT_EQ(clock.TakeStep(), kYear);
}

TEST(RetentionClock, BelievesAStepAheadThatLasts) {
  RetentionClock clock(absl::InfinitePast());
  clock.Read(After(absl::ZeroDuration()));
  clock.Read(After(absl::Hours(1), kYear));
  EXPECT_EQ(clock.Read(After(absl::Hours(25), kYear)), kStart + absl::Hours(25) + kYear);
  EXPECT_EQ(clock.Read(After(absl::Hours(26), kYear)), kStart + absl::Hours(26) + kYear);
}

TEST(RetentionClock, DoesNotBelieveAStartLongAfterTheNewestEvent) {
  RetentionClock clock(kStart - kYear);
  EXPECT_EQ(clock.Read(After(absl::ZeroDuration())), kStart - kYear);
  EXPECT_EQ(clock.TakeStep(), kYear);
  EXPECT_EQ(clock.Read(After(absl::Hours(24))), kStart + absl::Hours(24));
  RetentionClock soon(kStart - absl::Hours(24 * 179));
  EXPECT_EQ(soon.Read(After(absl::ZeroDuration())), kStart);
}

}  // namespace
}  // namespace vmeventd
