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

v1::SignalSender ToProto(const SignalSender& sender) {
  v1::SignalSender out;
  out.set_signal(sender.signal);
  out.set_kernel(sender.by_kernel);
  out.set_pid(sender.pid);
  if (sender.uid.has_value()) out.set_uid(*sender.uid);
  out.set_command(sender.command);
  out.set_executable(sender.executable);
  out.set_cgroup(sender.cgroup);
  if (!sender.by_kernel && !sender.descent_unproven && !sender.from_last_words) {
    out.set_of_qemu(sender.of_qemu);
  }
  out.set_from_last_words(sender.from_last_words);
  if (sender.login_uid.has_value()) out.set_login_uid(*sender.login_uid);
  if (sender.login_session.has_value()) out.set_login_session(*sender.login_session);
  out.set_login_user(sender.login_user);
  out.set_remote_host(sender.remote_host);
  out.set_container_pid(sender.first_process);
  out.set_container_signal(sender.first_signal);
  out.set_parent_ended(!sender.ended_with.empty());
  return out;
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
