#include "client/output/trouble.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/output/end_text.h"
#include "client/output/time_text.h"
#include "client/output/vm_rows.h"
#include "client/output/vm_text.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

// Returns when the VM ended with this class; nullopt: its last end has another one, or is too old.
std::optional<absl::Time> EndTimeOf(const NodeVm& row, v1::ShutdownClass shutdown_class,
                                    absl::Time now) {
  const v1::ShutdownDetail* end = row.end();
  if (end == nullptr || end->shutdown_class() != shutdown_class) return std::nullopt;
  const absl::Time time = row.vm.state() == v1::VM_STATE_STOPPED
                              ? FromTimestamp(row.vm.state_time())
                              : row.last_end_time;
  return time > now - kTroubleAfterEnd ? std::optional(time) : std::nullopt;
}

// The time that is left to an intent that has waited too long; nullopt: the VM has none.
std::optional<absl::Duration> LeftToLateIntent(const NodeVm& row, absl::Time now) {
  if (!row.vm.intent().has_expire_time() || row.vm.state() == v1::VM_STATE_STOPPED) {
    return std::nullopt;
  }
  const absl::Duration left = FromTimestamp(row.vm.intent().expire_time()) - now;
  if (left >= kLateIntent) return std::nullopt;
  return std::max(left, absl::ZeroDuration());
}

}  // namespace

TroubleKind TroubleOf(const NodeVm& row, absl::Time now) {
  if (row.vm.problems_size() > 0) return TroubleKind::kProblem;
  if (row.vm.state() == v1::VM_STATE_GUEST_DOWN) return TroubleKind::kGuestDown;
  if (row.vm.state() == v1::VM_STATE_UNREACHABLE) return TroubleKind::kUnreachable;
  // The target of a migration waits as long as the migration takes.
  const bool is_arriving = row.vm.pause_reason() == "inmigrate";
  if (row.vm.state() == v1::VM_STATE_PAUSED && !is_arriving) return TroubleKind::kPaused;
  if (LeftToLateIntent(row, now)) return TroubleKind::kIntentWaits;
  if (EndTimeOf(row, v1::SHUTDOWN_CLASS_CRASH, now)) return TroubleKind::kCrashed;
  return EndTimeOf(row, v1::SHUTDOWN_CLASS_UNKNOWN, now) ? TroubleKind::kEndedUnknown
                                                         : TroubleKind::kNone;
}

std::string TroubleText(const NodeVm& row, absl::Time now) {
  std::vector<std::string> parts;
  for (const v1::Problem& problem : row.vm.problems()) parts.push_back(problem.text());
  if (parts.empty() && row.vm.state() == v1::VM_STATE_PAUSED) {
    const std::string why = PauseWords(row.vm.pause_reason());
    parts.push_back(why.empty() ? "its CPUs are stopped" : absl::StrCat("paused ", why));
  }
  if (parts.empty() && row.vm.state() == v1::VM_STATE_GUEST_DOWN) {
    parts.emplace_back("the guest is down, and QEMU runs");
  }
  if (parts.empty() && row.vm.state() == v1::VM_STATE_UNREACHABLE) {
    parts.emplace_back("its monitor cannot be reached");
  }
  if (row.vm.has_intent()) {
    const auto left = LeftToLateIntent(row, now);
    parts.push_back(absl::StrCat(
        "intent of ", row.vm.intent().actor(), ": ", row.vm.intent().reason(),
        left ? absl::StrCat(", which expires in ", DurationText(*left), " while the VM runs")
             : ""));
  }
  if (const auto crash = EndTimeOf(row, v1::SHUTDOWN_CLASS_CRASH, now)) {
    parts.push_back(
        absl::StrCat("crashed ", DurationText(now - *crash), " ago: ", ShortEnd(*row.end())));
  }
  if (const auto end = EndTimeOf(row, v1::SHUTDOWN_CLASS_UNKNOWN, now)) {
    parts.push_back(absl::StrCat("ended ", DurationText(now - *end),
                                 " ago, and why is not known: ", ShortEnd(*row.end())));
  }
  return absl::StrJoin(parts, "; ");
}

NodeVms TroubledVms(const NodeReport& report, absl::Time now) {
  NodeVms runs = report.vms;
  for (NodeVm& run : runs) {
    run.node.cluster = report.node.cluster;
    run.node.name = report.node.name;
  }
  for (const NodeEvent& end : report.ends) {
    NodeVm run = {.node = report.node};
    *run.vm.mutable_ref() = end.event.vm();
    run.vm.set_state(v1::VM_STATE_STOPPED);
    *run.vm.mutable_state_time() = end.event.observe_time();
    *run.vm.mutable_shutdown() = end.event.shutdown();
    runs.push_back(std::move(run));
  }
  NodeVms rows = RowsOf(std::move(runs), /*runs_known=*/true);
  std::erase_if(rows, [&](const NodeVm& row) { return TroubleOf(row, now) == TroubleKind::kNone; });
  absl::c_stable_sort(rows, [&](const NodeVm& a, const NodeVm& b) {
    return std::pair(TroubleOf(a, now), a.vm.ref().name()) <
           std::pair(TroubleOf(b, now), b.vm.ref().name());
  });
  return rows;
}

}  // namespace vmeventd::client
