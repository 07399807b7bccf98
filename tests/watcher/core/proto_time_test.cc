#include "watcher/core/proto_time.h"

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace vmeventd {
namespace {

TEST(ProtoTimeTest, ATimeSurvivesConversionEvenBeforeTheEpoch) {
  const absl::Time noon = absl::FromUnixSeconds(1'782'907'200);
  for (const absl::Time time :
       {noon, noon + absl::Nanoseconds(1), absl::FromUnixSeconds(-5) - absl::Nanoseconds(1)}) {
    EXPECT_EQ(FromTimestamp(ToTimestamp(time)), time);
    EXPECT_GE(ToTimestamp(time).nanos(), 0);
  }
}

}  // namespace
}  // namespace vmeventd
