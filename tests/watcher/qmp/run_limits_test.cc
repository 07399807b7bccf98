#include "watcher/qmp/run_limits.h"

#include "gtest/gtest.h"

namespace vmeventd {
namespace {

TEST(RunLimiterTest, EachOwnerHasABurstAndThenARate) {
  RunLimiter limiter;
  const absl::Duration start = absl::Seconds(1000);
  for (int i = 0; i < static_cast<int>(RunLimiter::kBurst); ++i) {
    ASSERT_TRUE(limiter.Admit(1, start));
  }
  EXPECT_FALSE(limiter.Admit(1, start));
  EXPECT_TRUE(limiter.Admit(2, start));
  int admitted = 0;
  for (int i = 0; i < 1000; ++i) admitted += limiter.Admit(1, start + absl::Seconds(1)) ? 1 : 0;
  EXPECT_EQ(admitted, static_cast<int>(RunLimiter::kPerSecond));
}

TEST(RunLimiterTest, ItsTableIsBounded) {
  RunLimiter limiter;
  const absl::Duration start = absl::Seconds(1000);
  int admitted = 0;
  for (uint32_t owner = 0; owner < 100'000; ++owner)
    admitted += limiter.Admit(owner, start) ? 1 : 0;
  EXPECT_EQ(admitted, static_cast<int>(RunLimiter::kMaxOwners + RunLimiter::kBurst));
}

TEST(RunSharesTest, AnOwnerLeavesAQuarterToOthers) {
  RunShares shares(80, 1);
  for (int run = 0; run < 30; ++run) {
    ASSERT_TRUE(shares.HasRoom(1000, 0)) << run;
    shares.Count(1000, 0, RunShares::kDescriptorsOfRun);
  }
  EXPECT_FALSE(shares.HasRoom(1000, 0));
  EXPECT_TRUE(shares.HasRoom(1001, 0)) << "one directory has all of it";
  shares.Count(1000, 0, -1);
  EXPECT_FALSE(shares.HasRoom(1000, 0)) << "a run takes two";
  shares.Count(1000, 0, -1);
  EXPECT_TRUE(shares.HasRoom(1000, 0));
}

TEST(RunSharesTest, OneOfSeveralDirectoriesLeavesAQuarterToOthers) {
  RunShares shares(80, 2);
  for (uint32_t owner = 0; owner < 30; ++owner) {
    shares.Count(owner, 0, RunShares::kDescriptorsOfRun);
  }
  EXPECT_FALSE(shares.HasRoom(1000, 0));
  EXPECT_TRUE(shares.HasRoom(1000, 1));
}

}  // namespace
}  // namespace vmeventd
