#include "watcher/core/vm_event.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/civil_time.h"
#include "google/protobuf/util/time_util.h"

namespace vmeventd {
namespace {

constexpr int64_t kFirstSecond = -62135596800;  // 0001-01-01T00:00:00Z
constexpr int64_t kLastSecond = 253402300799;   // 9999-12-31T23:59:59Z

}  // namespace

google::protobuf::Timestamp ToTimestamp(absl::Time time) {
  static const absl::Time first = absl::FromUnixSeconds(kFirstSecond);
  static const absl::Time last = absl::FromUnixSeconds(kLastSecond);
  time = std::clamp(time, first, last);
  const int64_t seconds = absl::ToUnixSeconds(time);
  google::protobuf::Timestamp out;
  out.set_seconds(seconds);
  out.set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
  return out;
}

absl::Time FromTimestamp(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

google::protobuf::Duration ToProtoDuration(absl::Duration duration) {
  return google::protobuf::util::TimeUtil::NanosecondsToDuration(
      absl::ToInt64Nanoseconds(duration));
}

std::string TimesText(absl::Time from, absl::string_view word, absl::Time to) {
  const absl::TimeZone utc = absl::UTCTimeZone();
  const bool same_day = absl::ToCivilDay(from, utc) == absl::ToCivilDay(to, utc);
  return absl::StrCat(
      absl::FormatTime("%Y-%m-%d %H:%M:%S", from, utc), " ", word, " ",
      absl::FormatTime(same_day ? "%H:%M:%S UTC" : "%Y-%m-%d %H:%M:%S UTC", to, utc));
}

v1::Problem ToProto(const Problem& problem) {
  v1::Problem out;
  out.set_code(ToProto(problem.code));
  out.set_text(problem.text);
  return out;
}

v1::Event MakeEvent(EventType type, std::string message) {
  v1::Event event;
  event.set_type(ToProto(type));
  event.set_message(std::move(message));
  return event;
}

v1::Event MakeGap(GapReason reason, std::string message, absl::Time time) {
  v1::Event gap = MakeEvent(EventType::kGap, std::move(message));
  gap.set_gap_reason(ToProto(reason));
  *gap.mutable_observe_time() = ToTimestamp(time);
  return gap;
}

}  // namespace vmeventd
