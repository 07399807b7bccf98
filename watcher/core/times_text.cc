#include "watcher/core/times_text.h"

#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"

namespace vmeventd {

std::string TimesText(absl::Time from, absl::string_view word, absl::Time to) {
  const absl::TimeZone utc = absl::UTCTimeZone();
  const bool same_day = absl::ToCivilDay(from, utc) == absl::ToCivilDay(to, utc);
  return absl::StrCat(
      absl::FormatTime("%Y-%m-%d %H:%M:%S", from, utc), " ", word, " ",
      absl::FormatTime(same_day ? "%H:%M:%S UTC" : "%Y-%m-%d %H:%M:%S UTC", to, utc));
}

}  // namespace vmeventd
