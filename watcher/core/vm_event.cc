#include "watcher/core/vm_event.h"

#include <algorithm>
#include <cstdint>
#include <utility>

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

v1::SignalSender ToProto(const SignalSender& sender) {
  v1::SignalSender out;
  out.set_signal(sender.signal);
  out.set_kernel(sender.by_kernel);
  out.set_pid(sender.pid);
  if (sender.uid.has_value()) out.set_uid(*sender.uid);
  out.set_command(sender.command);
  out.set_executable(sender.executable);
  out.set_cgroup(sender.cgroup);
  out.set_of_qemu(sender.of_qemu && !sender.descent_unproven);
  out.set_said_by_qemu(sender.said_by_qemu);
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
