#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// Parses and prints times for people. Pure: the caller passes "now" and the time zone.

namespace vmeventd::client {

// Parses the TIME of --from, --since and --until, one of
//   RFC 3339                    2026-07-01T12:00:00Z, 2026-07-01T12:00:00.5+02:00
//   as tables show it          2026-07-01 12:00:00.123, in `zone`; seconds are optional; on a
//                              terminal "Jul 01 12:00:00", of the year of `now`
//   as `why` and journalctl      "Fri 2026-11-27 18:25:35 UTC", also with a fraction, or with the
//   show it                    name that `zone` has at that time, or without the day
//   a day, or a time of today   2026-07-01, 12:00, 12:00:30, in `zone`
//   that long ago               10m, -10m, 1h30m, 10min, "1 hour ago", "a week ago",
//                              "half an hour ago" (units w d h m s ms)
//   seconds since 1970          @1782907200
//   the midnight of a day       today or midnight, yesterday, "last week" (seven days ago), monday
//                              (the last one, today included), "last monday" (before today)
//   a time of a day             noon, 8pm, "8:30 pm" (of today), "yesterday 8pm", "monday 14:00",
//                              "2026-07-01 8pm"
//   last night                  18:00 of the day before, in `zone`
//   now
// INVALID_ARGUMENT names the correct forms. The result fits a protobuf Timestamp, in whole
// nanoseconds; a finer time is rounded down.
absl::StatusOr<absl::Time> ParseTimeText(absl::string_view text, absl::Time now,
                                         absl::TimeZone zone);

// Parses the TIME of --until that is relative to `start`: "+10m". INVALID_ARGUMENT names the
// correct form.
absl::StatusOr<absl::Time> ParseTimeAfter(absl::string_view text, absl::Time start);

// Parses a duration: 10m, 1h30m, 2d (units w d h m s ms). INVALID_ARGUMENT names the correct form.
absl::StatusOr<absl::Duration> ParseDurationText(absl::string_view text);

// "2026-07-01 12:00:00.123" in `zone`.
inline std::string LocalTimeText(absl::Time time, absl::TimeZone zone) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%E3S", time, zone);
}
// "2026-07-01T12:00:00.123Z", for programs.
inline std::string Rfc3339Text(absl::Time time) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
}

// "between 2026-07-01 11:45:46 and 11:46:00" in `zone`. If both times are on the same day, the day
// is named only once, or not at all if not `names_day`.
std::string BetweenText(absl::Time from, absl::Time to, absl::TimeZone zone, bool names_day = true);

// A duration in a sentence: "350 ms", "29 s", "5 min 30 s", "14 min", "3 h 20 min", "12 d".
std::string DurationText(absl::Duration duration);
// A duration for a narrow column, as kubectl shows ages: "90s", "5m30s", "45m", "3h20m", "30h",
// "12d", "3y".
std::string ShortDurationText(absl::Duration duration);

}  // namespace vmeventd::client
