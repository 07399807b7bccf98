#include "client/output/time_text.h"

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

namespace vmeventd::client {
namespace {

const absl::Time kNoonOfJuly = absl::FromUnixSeconds(1782907200);  // 2026-07-01T12:00:00Z
const absl::TimeZone kTwoEast = absl::FixedTimeZone(7200);

std::string Parsed(const std::string& text) {
  const auto time = ParseTimeText(text, kNoonOfJuly, kTwoEast);
  if (!time.ok()) return "error";
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E*S", *time, absl::UTCTimeZone());
}

TEST(ParseTimeText, TakesEachForm) {
  const std::pair<const char*, const char*> rows[] = {
      {"2026-07-01T12:00:00Z", "2026-07-01T12:00:00"},  // RFC 3339
      {"2026-07-01t12:00:00z", "2026-07-01T12:00:00"},
      {"2026-07-01T12:00:00.125+02:00", "2026-07-01T10:00:00.125"},
      {"2026-07-01 12:00:00-01:30", "2026-07-01T13:30:00"},
      {"2026-07-01 12:00:00.123", "2026-07-01T10:00:00.123"},  // local, as tables show it
      {"Jun 30 09:30:15", "2026-06-30T07:30:15"},              // as on a terminal
      {"jun 30 09:30", "2026-06-30T07:30:00"},
      {"Jun 1", "2026-05-31T22:00:00"},
      {"2026-07-01T12:00:00", "2026-07-01T10:00:00"},
      {"2026-07-01 12:00", "2026-07-01T10:00:00"},
      {"2026-06-28", "2026-06-27T22:00:00"},  // as journalctl takes it
      {"09:30", "2026-07-01T07:30:00"},
      {"09:30:15", "2026-07-01T07:30:15"},
      {"@1782907200", "2026-07-01T12:00:00"},
      {"@1782907200.5", "2026-07-01T12:00:00.5"},
      {"today", "2026-06-30T22:00:00"},
      {"yesterday", "2026-06-29T22:00:00"},
      {"yesterday 12:00", "2026-06-30T10:00:00"},
      {"today 08:30", "2026-07-01T06:30:00"},
      {"midnight", "2026-06-30T22:00:00"},
      {"last night", "2026-06-30T16:00:00"},
      {"last week", "2026-06-23T22:00:00"},
      {"noon", "2026-07-01T10:00:00"},
      {"8pm", "2026-07-01T18:00:00"},
      {"12 am", "2026-06-30T22:00:00"},
      {"Monday", "2026-06-28T22:00:00"},
      {"wednesday", "2026-06-30T22:00:00"},
      {"a week ago", "2026-06-24T12:00:00"},
      {"an hour ago", "2026-07-01T11:00:00"},
      {"half an hour ago", "2026-07-01T11:30:00"},
      {"last monday", "2026-06-28T22:00:00"},
      {"last Wednesday", "2026-06-23T22:00:00"},  // today is one
      {"monday 14:00", "2026-06-29T12:00:00"},
      {"last wednesday 8 am", "2026-06-24T06:00:00"},
      {"yesterday 8pm", "2026-06-30T18:00:00"},
      {"yesterday noon", "2026-06-30T10:00:00"},
      {"8:30 PM", "2026-07-01T18:30:00"},
      {"2026-06-28 8pm", "2026-06-28T18:00:00"},
      {"now", "2026-07-01T12:00:00"},
      {"10m", "2026-07-01T11:50:00"},  // ago
      {"10m ago", "2026-07-01T11:50:00"},
      {"1h30m", "2026-07-01T10:30:00"},
      {"1.5h", "2026-07-01T10:30:00"},
      {"500ms", "2026-07-01T11:59:59.5"},
      {"2d", "2026-06-29T12:00:00"},
      {"1w", "2026-06-24T12:00:00"},
      {"-1h", "2026-07-01T11:00:00"},
      {"10min", "2026-07-01T11:50:00"},
      {"1 hour ago", "2026-07-01T11:00:00"},
      {"2 days", "2026-06-29T12:00:00"},
      {"1h 30min ago", "2026-07-01T10:30:00"},
      {"0s", "2026-07-01T12:00:00"},
      {"2026-07-01T12:00:00.1234567895Z", "2026-07-01T12:00:00.123456789"},  // rounded down
      {"1000-01-01T00:00:00.0000000005Z", "1000-01-01T00:00:00"},
      {"0.0000000005s", "2026-07-01T11:59:59.999999999"}};
  for (const auto& [text, time] : rows) EXPECT_EQ(Parsed(text), time) << text;
}

TEST(ParseTimeText, TakesTimesWithTheNameOfTheirZone) {
  EXPECT_EQ(Parsed("Fri 2026-11-27 18:25:35 UTC"), "2026-11-27T18:25:35");
  EXPECT_EQ(Parsed("2026-11-27 18:25:35 UTC"), "2026-11-27T18:25:35");
  EXPECT_EQ(Parsed("2026-11-27 18:25:35.25 UTC"), "2026-11-27T18:25:35.25");
  EXPECT_EQ(Parsed("Fri 2026-11-27 18:25:35"), "2026-11-27T16:25:35");
  EXPECT_EQ(Parsed(absl::FormatTime("%a %Y-%m-%d %H:%M:%S %Z", kNoonOfJuly, kTwoEast)),
            "2026-07-01T12:00:00");
  EXPECT_EQ(Parsed("2026-11-27 18:25:35 EST"), "error") << "a zone of others";
  EXPECT_EQ(Parsed("Foo 2026-11-27 18:25:35"), "error");
  EXPECT_EQ(Parsed("2026-11-27 UTC UTC"), "error");
}

TEST(ParseTimeText, RefusesMalformedTimes) {
  const std::vector<std::string> texts = absl::StrSplit(
      "|x|tomorrow|monday x|last|last 8pm|yesterday yesterday|13pm|noon 8pm|half an "
      "hour|+1h|10|10x|m|10m5|.|.m| "
      "ago|ago|inf|infinite-past|infinite-future|2026-07|25:00|12:|@|@x|@-1x|--10m|10 "
      "parsecs|hours|2026-13-01T00:00:00Z|2026-07-01T25:00:00Z|2026-07-01T12:00:00Zx|Yesterday|"
      "1e3s|99999999999d|0000-01-01T00:00:00Z|10000-01-01T00:00:00Z|"
      "999999999999999999999999999999w",
      '|');
  for (const std::string& text : texts) {
    EXPECT_EQ(Parsed(text), "error") << text;
  }
}

TEST(ParseTimeText, AnErrorNamesTheCorrectForms) {
  const auto time = ParseTimeText("soon", kNoonOfJuly, kTwoEast);
  EXPECT_EQ(
      time.status().message(),
      "\"soon\" is not a time; use 2026-07-01T12:00:00Z, \"2026-07-01 12:00:00\" (local "
      "time), 2026-07-01, 12:00, 8pm, today, \"monday 14:00\", or how long ago: 10m, 1h30m, 2d");
}

TEST(ParseTimeAfter, AddsADuration) {
  EXPECT_EQ(*ParseTimeAfter("+1h30m", kNoonOfJuly), kNoonOfJuly + absl::Minutes(90));
  EXPECT_EQ(ParseTimeAfter("+soon", kNoonOfJuly).status().message(),
            "\"+soon\" is not a duration; use 30s, 10m, 1h30m");
  const absl::Time last = absl::FromUnixSeconds(253402300799);  // the last second of the year 9999
  EXPECT_EQ(ParseTimeAfter("+1s", last).status().message(),
            "the time \"+1s\" lies outside the years 1 to 9999");
}

TEST(LocalTimeText, ShowsMillisecondsInTheZone) {
  EXPECT_EQ(LocalTimeText(kNoonOfJuly + absl::Microseconds(123456), kTwoEast),
            "2026-07-01 14:00:00.123");
}

TEST(DurationText, PrintsAtMostTwoUnits) {
  EXPECT_EQ(DurationText(absl::Milliseconds(350)), "350 ms");
  EXPECT_EQ(DurationText(absl::Milliseconds(42999)), "42 s");
  EXPECT_EQ(DurationText(absl::Seconds(185)), "3 min 5 s");
  EXPECT_EQ(DurationText(absl::Minutes(130)), "2 h 10 min");
  EXPECT_EQ(DurationText(absl::Hours(102)), "4 d 6 h");
  EXPECT_EQ(DurationText(-absl::Seconds(5)), "0 s") << "a clock that was set back";
}

TEST(ShortDurationText, HasTheFormOfKubectlsAges) {
  EXPECT_EQ(ShortDurationText(absl::Seconds(119)), "119s");
  EXPECT_EQ(ShortDurationText(absl::Seconds(120)), "2m");
  EXPECT_EQ(ShortDurationText(absl::Seconds(330)), "5m30s");
  EXPECT_EQ(ShortDurationText(absl::Seconds(630)), "10m");
  EXPECT_EQ(ShortDurationText(absl::Minutes(119)), "119m");
  EXPECT_EQ(ShortDurationText(absl::Minutes(200)), "3h20m");
  EXPECT_EQ(ShortDurationText(absl::Hours(30)), "30h");
  EXPECT_EQ(ShortDurationText(absl::Hours(53)), "2d5h");
  EXPECT_EQ(ShortDurationText(absl::Hours(24 * 700)), "700d");
  EXPECT_EQ(ShortDurationText(absl::Hours(24 * 800)), "2y");
  EXPECT_EQ(ShortDurationText(-absl::Hours(1)), "0s") << "a clock that was set back";
}

}  // namespace
}  // namespace vmeventd::client
