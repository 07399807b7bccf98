#include "base/duration_text.h"

#include <gtest/gtest.h>

namespace vmeventd {
namespace {

TEST(ParseDuration, AddsItsTerms) {
  EXPECT_EQ(ParseDuration("10m"), absl::Minutes(10));
  EXPECT_EQ(ParseDuration("1h30m"), absl::Minutes(90));
  EXPECT_EQ(ParseDuration("1d12h"), absl::Hours(36));
  EXPECT_EQ(ParseDuration("2w"), absl::Hours(24 * 14));
  EXPECT_EQ(ParseDuration("0.5s"), absl::Milliseconds(500));
  EXPECT_EQ(ParseDuration(".5s"), absl::Milliseconds(500));
  EXPECT_EQ(ParseDuration("1s500ms"), absl::Milliseconds(1500));
  EXPECT_EQ(ParseDuration("3us"), absl::Microseconds(3));
  EXPECT_EQ(ParseDuration("7ns"), absl::Nanoseconds(7));
  EXPECT_EQ(ParseDuration("+3s"), absl::Seconds(3));
  EXPECT_EQ(ParseDuration("0s"), absl::ZeroDuration());
}

TEST(ParseDuration, RefusesOtherText) {
  for (const char* text : {"", "+", "10", "s", "-3s", "1h-3m", "inf", "1 h", "1..5s", "1e3s", "1x",
                           "nan", "1h30", " 1h"}) {
    EXPECT_EQ(ParseDuration(text), std::nullopt) << text;
  }
}

TEST(PrintDuration, PrintsWhatParseDurationReads) {
  EXPECT_EQ(PrintDuration(absl::Hours(24 * 30)), "30d");
  EXPECT_EQ(PrintDuration(absl::Minutes(90)), "1h30m");
  EXPECT_EQ(PrintDuration(absl::Milliseconds(500)), "500ms");
  for (const absl::Duration duration : {absl::Minutes(10), absl::Hours(25), absl::Nanoseconds(1500),
                                        absl::Hours(48) + absl::Seconds(1)}) {
    EXPECT_EQ(ParseDuration(PrintDuration(duration)), duration);
  }
}

}  // namespace
}  // namespace vmeventd
