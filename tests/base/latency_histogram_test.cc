#include <gtest/gtest.h>

#include <numeric>

#include "base/counter.h"

namespace vmeventd {
namespace {

TEST(LatencyHistogram, CountsEachLatencyInTheBucketOfTheNextBound) {
  LatencyHistogram histogram;
  histogram.Observe(absl::ZeroDuration());
  histogram.Observe(absl::Microseconds(100));
  histogram.Observe(absl::Microseconds(101));
  histogram.Observe(absl::Seconds(60));
  histogram.Observe(absl::Hours(1));
  const LatencyHistogram::Snapshot snapshot = histogram.Read();
  EXPECT_EQ(snapshot.counts.front(), 2u);
  EXPECT_EQ(snapshot.counts[1], 1u);
  EXPECT_EQ(snapshot.counts[LatencyHistogram::kBounds.size() - 1], 1u);
  EXPECT_EQ(snapshot.counts.back(), 1u);
  EXPECT_EQ(std::accumulate(snapshot.counts.begin(), snapshot.counts.end(), uint64_t{0}), 5u);
  EXPECT_EQ(snapshot.sum, absl::Hours(1) + absl::Seconds(60) + absl::Microseconds(201));
}

TEST(LatencyHistogram, AClockSetBackCountsAsZero) {
  LatencyHistogram histogram;
  histogram.Observe(-absl::Hours(1));
  EXPECT_EQ(histogram.Read().counts.front(), 1u);
  EXPECT_EQ(histogram.Read().sum, absl::ZeroDuration());
}

}  // namespace
}  // namespace vmeventd
