#include "client/output/time_text.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <ctime>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "absl/time/civil_time.h"
#include "base/text.h"

namespace vmeventd::client {
namespace {

// Takes "10m", "-10m", "10min", "1 hour ago" and "1h 30min".
std::optional<absl::Duration> ParseAge(absl::string_view text) {
  if (absl::StartsWith(text, "+")) return std::nullopt;  // journalctl's time to come
  absl::ConsumePrefix(&text, "-");
  const bool ago = absl::ConsumeSuffix(&text, " ago");
  std::string plain(text);
  // "a week ago", "an hour ago".
  if (ago && (absl::ConsumePrefix(&text, "an ") || absl::ConsumePrefix(&text, "a "))) {
    plain = absl::StrCat("1", text);
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
                             "%Y-%m-%d", "%Y %b %d %H:%M:%E*S", "%Y %b %d %H:%M", "%Y %b %d"}) {
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

// "monday": the last one, today included.
std::optional<absl::CivilDay> ParseWeekday(absl::string_view text, absl::CivilDay today) {
  for (int days = 0; days < 7; ++days) {
    const absl::CivilDay day = today - days;
    const std::string name = absl::AsciiStrToLower(
        absl::FormatTime("%A", absl::FromCivil(day, absl::UTCTimeZone()), absl::UTCTimeZone()));
    if (absl::AsciiStrToLower(text) == name) return day;
  }
  return std::nullopt;
}

// "8pm", "8 am".
std::optional<int> ParseHour(absl::string_view text) {
  const std::string word = absl::StrReplaceAll(absl::AsciiStrToLower(text), {{" ", ""}});
  absl::string_view digits = word;
  const bool afternoon = absl::ConsumeSuffix(&digits, "pm");
  int hour = 0;
  if ((!afternoon && !absl::ConsumeSuffix(&digits, "am")) || digits.size() > 2 ||
      !absl::SimpleAtoi(digits, &hour) || hour < 1 || hour > 12) {
    return std::nullopt;
  }
  return hour % 12 + (afternoon ? 12 : 0);
}

// Up to `limit` in `unit`, and up to `fine` with the rest in `part` as well; seconds.
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
  // A clock that was set back.
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
  absl::string_view clock = text;
  if (text == "now") {
    time = now;
  } else if (text == "today" || text == "midnight" || text == "yesterday" || text == "last week") {
    const int days = text == "yesterday" ? 1 : text == "last week" ? 7 : 0;
    time = absl::FromCivil(today - days, zone);
  } else if (text == "last night") {
    time = absl::FromCivil(absl::CivilHour(today) - 6, zone);
  } else if (text == "noon") {
    time = absl::FromCivil(absl::CivilHour(today) + 12, zone);
  } else if (const auto day = ParseWeekday(text, today)) {
    time = absl::FromCivil(*day, zone);
  } else if (const auto hour = ParseHour(text)) {
    time = absl::FromCivil(absl::CivilHour(today) + *hour, zone);
  } else if (absl::ConsumePrefix(&clock, "today ")) {
    time = ParseDate(absl::StrCat(absl::FormatCivilTime(today), " ", clock), zone);
  } else if (absl::ConsumePrefix(&clock, "yesterday ")) {
    time = ParseDate(absl::StrCat(absl::FormatCivilTime(today - 1), " ", clock), zone);
  } else if (const auto age = ParseAge(text)) {
    time = now - *age;
  } else if (const auto epoch = ParseEpoch(text)) {
    time = epoch;
  } else if (time = ParseDateAndZone(text, zone); !time && !text.empty()) {
    // "12:00" of the day of `now`, "Jul 01" of its year; "jul01" is a VM's name.
    const char* const begin = absl::StrContains(text, ' ') ? "%Y " : "%Y-%m-%d ";
    time = ParseDate(absl::StrCat(absl::FormatTime(begin, now, zone), text), zone);
  }
  if (!time) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", text,
        "\" is not a time; use 2026-07-01T12:00:00Z, \"2026-07-01 12:00:00\" (local "
        "time), 2026-07-01, 12:00, today, yesterday, or how long ago: 10m, 1h30m, 2d"));
  }
  const int64_t year = absl::ToCivilYear(*time, absl::UTCTimeZone()).year();
  if (year < 1 || year > 9999) {
    return absl::InvalidArgumentError(
        absl::StrCat("the time \"", text, "\" lies outside the years 1 to 9999"));
  }
  const absl::Time epoch = absl::UnixEpoch();
  return epoch + absl::Floor(*time - epoch, absl::Nanoseconds(1));
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

google::protobuf::Timestamp ToProto(absl::Time time) {
  const timespec parts = absl::ToTimespec(time);
  google::protobuf::Timestamp timestamp;
  timestamp.set_seconds(parts.tv_sec);
  timestamp.set_nanos(static_cast<int32_t>(parts.tv_nsec));
  return timestamp;
}

}  // namespace vmeventd::client
