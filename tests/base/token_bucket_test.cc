#include "base/token_bucket.h"

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

int TakenOf(TokenBucket* bucket, int wanted, absl::Duration now) {
  int taken = 0;
  for (int i = 0; i < wanted; ++i) taken += bucket->Take(now) ? 1 : 0;
  return taken;
}

TEST(TokenBucketTest, BeginsFullAndRefillsWithTime) {
  TokenBucket bucket(20, 5);
  EXPECT_TRUE(bucket.IsFull(absl::ZeroDuration()));
  EXPECT_EQ(TakenOf(&bucket, 100, absl::Seconds(1)), 20);
  EXPECT_FALSE(bucket.Has(absl::Seconds(1)));
  EXPECT_EQ(TakenOf(&bucket, 100, absl::Seconds(2)), 5);
  EXPECT_EQ(TakenOf(&bucket, 100, absl::Hours(1)), 20) << "never more than the burst";
}

TEST(TokenBucketTest, ADebtIsPaidOffFirst) {
  TokenBucket bucket(20, 5);
  TakenOf(&bucket, 20, absl::Seconds(1));
  for (int i = 0; i < 3; ++i) bucket.Spend(absl::Seconds(1));
  EXPECT_EQ(bucket.Available(absl::Seconds(1)), -3);
  EXPECT_EQ(TakenOf(&bucket, 100, absl::Seconds(2)), 2);
}

TEST(TokenBucketTest, ADebtIsBoundedByTheBurst) {
  TokenBucket bucket(20, 5);
  for (int i = 0; i < 1000; ++i) bucket.Spend(absl::Seconds(1));
  EXPECT_EQ(bucket.Available(absl::Seconds(1)), -20);
}

TEST(TokenBucketTest, AChargeMayLeaveADebtBeyondTheBurst) {
  TokenBucket bucket(TokenRate{.per_second = 5, .burst = 20});
  EXPECT_EQ(bucket.Charge(20, absl::Seconds(1)), absl::ZeroDuration());
  EXPECT_EQ(bucket.Charge(100, absl::Seconds(1)), absl::Seconds(20));
  EXPECT_EQ(bucket.Charge(0, absl::Seconds(11)), absl::Seconds(10));
  EXPECT_EQ(bucket.TakeOrWait(absl::Seconds(21)), absl::Milliseconds(200)) << "paid, none left";
  EXPECT_EQ(bucket.TakeOrWait(absl::Milliseconds(21'200)), absl::ZeroDuration());
}

TEST(TokenBucketTest, ATimeThatGoesBackEarnsNothing) {
  TokenBucket bucket(20, 5);
  TakenOf(&bucket, 20, absl::Seconds(10));
  EXPECT_EQ(TakenOf(&bucket, 100, absl::Seconds(5)), 0);
  EXPECT_EQ(TakenOf(&bucket, 100, absl::Seconds(11)), 5);
}

}  // namespace
}  // namespace vmeventd
