#include "client/output/time_text.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "absl/time/civil_time.h"
#include "base/duration_text.h"

namespace vmeventd::client {
namespace {

// Takes "10m", "-10m", "10min", "1 hour ago" and "1h 30min".
std::optional<absl::Duration> ParseAge(absl::string_view text) {
  if (absl::StartsWith(text, "+")) return std::nullopt;  // journalctl's time to come
  absl::ConsumePrefix(&text, "-");
  const bool ago = absl::ConsumeSuffix(&text, " ago");
  std::string plain(text);
  if (ago && text == "half an hour") {
    plain = "30m";
  } else if (ago && (absl::ConsumePrefix(&text, "an ") || absl::ConsumePrefix(&text, "a "))) {
    plain = absl::StrCat("1", text);  // "a week ago", "an hour ago"
  }
  for (const absl::string_view word :
       {"second", "sec", "minute", "min", "hour", "hr", "day", "week"}) {
    const absl::string_view unit = word.substr(0, 1);
    absl::StrReplaceAll({{absl::StrCat(word, "s"), unit}, {word, unit}}, &plain);
  }
  return ParseDuration(absl::StrReplaceAll(plain, {{" ", ""}}));
}

// "@1782907200", seconds since 1970.
std::optional<absl::Time> ParseEpoch(absl::string_view text) {
  if (text.size() < 2 || text[0] != '@' || !absl::ascii_isdigit(text.back())) return std::nullopt;
  const auto since_epoch = ParseDuration(absl::StrCat(text.substr(1), "s"));
  if (!since_epoch) return std::nullopt;
  return absl::UnixEpoch() + *since_epoch;
}

std::optional<absl::Time> ParseDate(absl::string_view text, absl::TimeZone zone) {
  // absl::ParseTime also accepts "infinite-past"; a date begins with a digit.
  if (text.empty() || !absl::ascii_isdigit(text[0])) return std::nullopt;
  std::string plain = absl::AsciiStrToUpper(text);  // RFC 3339 allows "t" and "z"
  if (plain.size() > 10 && plain[10] == 'T') plain[10] = ' ';
  absl::Time time;
  std::string ignored;
  for (const char* format : {"%Y-%m-%d %H:%M:%E*S%Ez", "%Y-%m-%d %H:%M:%E*S", "%Y-%m-%d %H:%M",
                             "%Y-%m-%d", "%Y-%m-%d %I %p", "%Y-%m-%d %I:%M %p",
                             "%Y %b %d %H:%M:%E*S", "%Y %b %d %H:%M", "%Y %b %d"}) {
    if (absl::ParseTime(format, plain, zone, &time, &ignored)) return time;
  }
  return std::nullopt;
}

// "Fri 2026-11-27 18:25:35 UTC", as `why` and journalctl show it: the zone is UTC, or the one that
// `zone` has at that time.
std::optional<absl::Time> ParseDateAndZone(absl::string_view text, absl::TimeZone zone) {
  constexpr absl::string_view kDays = "Mon Tue Wed Thu Fri Sat Sun";
  if (text.size() > 4 && text[3] == ' ' && absl::StrContains(kDays, text.substr(0, 3))) {
    text.remove_prefix(4);
  }
  if (absl::ConsumeSuffix(&text, " UTC")) return ParseDate(text, absl::UTCTimeZone());
  if (const auto time = ParseDate(text, zone)) return time;
  const size_t blank = std::min(text.rfind(' '), text.size());
  const auto time = ParseDate(text.substr(0, blank), zone);
  if (!time || absl::FormatTime(" %Z", *time, zone) != text.substr(blank)) return std::nullopt;
  return time;
}

// A day in words. "monday" is the last one, today included; "last monday" is before today.
std::optional<absl::CivilDay> ParseDay(absl::string_view text, absl::CivilDay today) {
  if (text == "today") return today;
  if (text == "yesterday") return today - 1;
  if (text == "last week") return today - 7;
  const int first = absl::ConsumePrefix(&text, "last ") ? 1 : 0;
  for (int days = first; days < first + 7; ++days) {
    const absl::CivilDay day = today - days;
    const std::string name =
        absl::FormatTime("%A", absl::FromCivil(day, absl::UTCTimeZone()), absl::UTCTimeZone());
    if (absl::EqualsIgnoreCase(text, name)) return day;
  }
  return std::nullopt;
}

// A time of that day: "14:00", "8pm", "8 am", "noon".
std::optional<absl::Time> ParseClock(absl::string_view text, absl::CivilDay day,
                                     absl::TimeZone zone) {
  if (text == "noon") text = "12:00";
  if (text == "midnight") text = "00:00";
  if (text.empty() || !absl::ascii_isdigit(text[0])) return std::nullopt;
  return ParseDate(absl::StrCat(absl::FormatCivilTime(day), " ", text), zone);
}

// "yesterday 8pm", "last monday 14:00".
std::optional<absl::Time> ParseDayAndClock(absl::string_view text, absl::CivilDay today,
                                           absl::TimeZone zone) {
  for (size_t at = text.find(' '); at != text.npos; at = text.find(' ', at + 1)) {
    const auto day = ParseDay(text.substr(0, at), today);
    if (day) return ParseClock(text.substr(at + 1), *day, zone);
  }
  return std::nullopt;
}

// Returns the time if a protobuf Timestamp can represent it.
absl::StatusOr<absl::Time> Fitting(absl::Time time, absl::string_view text) {
  const int64_t year = absl::ToCivilYear(time, absl::UTCTimeZone()).year();
  if (year < 1 || year > 9999) {
    return absl::InvalidArgumentError(
        absl::StrCat("the time \"", text, "\" lies outside the years 1 to 9999"));
  }
  const absl::Time epoch = absl::UnixEpoch();
  return epoch + absl::Floor(time - epoch, absl::Nanoseconds(1));
}

// A form for durations up to `limit`: in `unit`, and up to `fine` also with the rest in `part`. All
// in seconds.
struct DurationForm {
  int64_t fine, limit, unit, part;
};
constexpr int64_t kMinute = 60;
constexpr int64_t kHour = 60 * kMinute;
constexpr int64_t kDay = 24 * kHour;
constexpr DurationForm kDurationForms[] = {{0, 120, 1, 1},
                                           {10 * kMinute, 2 * kHour, kMinute, 1},
                                           {8 * kHour, 2 * kDay, kHour, kMinute},
                                           {8 * kDay, 730 * kDay, kDay, kHour},
                                           {0, INT64_MAX, 365 * kDay, kDay}};

// `units` are the names of a second and so on.
std::string InUnits(absl::Duration duration, const std::array<const char*, 5>& units,
                    absl::string_view between) {
  // The clock was set back.
  const int64_t seconds = std::max<int64_t>(absl::ToInt64Seconds(duration), 0);
  size_t at = 0;
  while (seconds >= kDurationForms[at].limit) ++at;
  const DurationForm& form = kDurationForms[at];
  const int64_t rest = seconds % form.unit / form.part;
  std::string text = absl::StrCat(seconds / form.unit, units[at]);
  if (seconds < form.fine && rest > 0) absl::StrAppend(&text, between, rest, units[at - 1]);
  return text;
}

}  // namespace

absl::StatusOr<absl::Time> ParseTimeText(absl::string_view text, absl::Time now,
                                         absl::TimeZone zone) {
  std::optional<absl::Time> time;
  const absl::CivilDay today = absl::ToCivilDay(now, zone);
  if (text == "now") {
    time = now;
  } else if (text == "last night") {
    time = absl::FromCivil(absl::CivilHour(today) - 6, zone);
  } else if (const auto day = ParseDay(text, today)) {
    time = absl::FromCivil(*day, zone);
  } else if (const auto clock = ParseClock(text, today, zone)) {
    time = clock;
  } else if (const auto both = ParseDayAndClock(text, today, zone)) {
    time = both;
  } else if (const auto age = ParseAge(text)) {
    time = now - *age;
  } else if (const auto epoch = ParseEpoch(text)) {
    time = epoch;
  } else if (time = ParseDateAndZone(text, zone); !time && absl::StrContains(text, ' ')) {
    // "Jul 01" of the year of `now`; "jul01" is a VM's name.
    time = ParseDate(absl::StrCat(absl::FormatTime("%Y ", now, zone), text), zone);
  }
  if (time) return Fitting(*time, text);
  return absl::InvalidArgumentError(absl::StrCat(
      "\"", text,
      "\" is not a time; use 2026-07-01T12:00:00Z, \"2026-07-01 12:00:00\" (local "
      "time), 2026-07-01, 12:00, 8pm, today, \"monday 14:00\", or how long ago: 10m, 1h30m, 2d"));
}

absl::StatusOr<absl::Time> ParseTimeAfter(absl::string_view text, absl::Time start) {
  const absl::StatusOr<absl::Duration> duration = ParseDurationText(text);
  if (!duration.ok()) return duration.status();
  return Fitting(start + *duration, text);
}

absl::StatusOr<absl::Duration> ParseDurationText(absl::string_view text) {
  const std::optional<absl::Duration> duration = ParseDuration(text);
  if (duration && *duration > absl::ZeroDuration() && *duration < absl::Hours(24 * 36525)) {
    return *duration;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("\"", text, "\" is not a duration; use 30s, 10m, 1h30m"));
}

std::string ShortDurationText(absl::Duration duration) {
  return InUnits(duration, {"s", "m", "h", "d", "y"}, "");
}

std::string BetweenText(absl::Time from, absl::Time to, absl::TimeZone zone, bool names_day) {
  constexpr char kTime[] = "%H:%M:%S";
  constexpr char kDayAndTime[] = "%Y-%m-%d %H:%M:%S";
  const bool same_day = absl::ToCivilDay(from, zone) == absl::ToCivilDay(to, zone);
  return absl::StrCat("between ",
                      absl::FormatTime(same_day && !names_day ? kTime : kDayAndTime, from, zone),
                      " and ", absl::FormatTime(same_day ? kTime : kDayAndTime, to, zone));
}

std::string DurationText(absl::Duration duration) {
  const int64_t millis = absl::ToInt64Milliseconds(duration);
  if (millis > 0 && millis < 1000) return absl::StrCat(millis, " ms");
  return InUnits(duration, {" s", " min", " h", " d", " y"}, " ");
}

}  // namespace vmeventd::client
