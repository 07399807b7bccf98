#include "watcher/core/vm_event.h"

#include <algorithm>
#include <cstdint>

#include "google/protobuf/util/time_util.h"

namespace vmeventd {
namespace {

constexpr int64_t kFirstSecond = -62135596800;  // 0001-01-01T00:00:00Z
constexpr int64_t kLastSecond = 253402300799;   // 9999-12-31T23:59:59Z

void FillSender(const SignalSender& sender, v1::SignalSender* out) {
  out->set_signal(sender.signal);
  out->set_kernel(sender.by_kernel);
  out->set_pid(sender.pid);
  if (sender.uid.has_value()) out->set_uid(*sender.uid);
  out->set_command(sender.command);
  out->set_executable(sender.executable);
  out->set_cgroup(sender.cgroup);
  out->set_of_qemu(sender.of_qemu && !sender.descent_unproven);
  out->set_said_by_qemu(sender.said_by_qemu);
}

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

v1::Intent ToProto(const Intent& intent) {
  v1::Intent out;
  out.set_intent_id(intent.intent_id);
  out.set_actor(intent.actor);
  out.set_reason(intent.reason);
  *out.mutable_expire_time() = ToTimestamp(intent.expire_time);
  out.set_declared_by(intent.declared_by);
  return out;
}

v1::Problem ToProto(const Problem& problem) {
  v1::Problem out;
  out.set_code(ToProto(problem.code));
  out.set_text(problem.text);
  return out;
}

v1::ShutdownDetail ToProto(const ShutdownDetail& detail, bool stopped) {
  v1::ShutdownDetail out;
  if (detail.end.has_value()) out = *detail.end;
  out.set_shutdown_class(ToProto(detail.shutdown_class));
  out.set_cause(ToProto(detail.cause));
  out.set_rule(detail.rule);
  if (detail.powerdown_age.has_value()) {
    *out.mutable_powerdown_age() = ToProtoDuration(*detail.powerdown_age);
  }
  for (const EvidenceEntry& entry : detail.evidence) {
    v1::Evidence* evidence = out.add_evidence();
    *evidence->mutable_time() = ToTimestamp(entry.time);
    evidence->set_what(entry.what);
  }
  out.set_shutdown_file_written(detail.shutdown_file_written);
  if (!detail.exit_status.has_value()) {
    if (stopped) out.set_exit_unknown(true);
  } else if (detail.exit_status->signal == 0) {
    out.set_exit_code(detail.exit_status->code);
  } else {
    out.mutable_exit_signal()->set_number(detail.exit_status->signal);
    out.mutable_exit_signal()->set_core_dumped(detail.exit_status->core_dumped);
  }
  if (detail.intent.has_value()) *out.mutable_intent() = ToProto(*detail.intent);
  for (const ShutdownCaveat caveat : detail.caveats) {
    out.add_caveats(ToProto(caveat));
  }
  if (detail.sender.has_value()) FillSender(*detail.sender, out.mutable_sender());
  if (detail.panic.has_value()) *out.mutable_panic() = *detail.panic;
  return out;
}

}  // namespace vmeventd
