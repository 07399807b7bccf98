#include "client/output/trouble.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/output/event_text.h"
#include "client/output/terminal_text.h"
#include "client/output/time_text.h"

namespace vmeventd::client {
namespace {

// When the VM ended with this class; nullopt: its last end has another one, or is too old.
std::optional<absl::Time> EndTimeOf(const NodeVm& row, v1::ShutdownClass shutdown_class,
                                    absl::Time now) {
  const v1::ShutdownDetail* end = row.end();
  if (end == nullptr || end->shutdown_class() != shutdown_class) return std::nullopt;
  const absl::Time time =
      row.vm.state() == v1::VM_STATE_STOPPED ? FromProto(row.vm.state_time()) : row.last_end_time;
  return time > now - kTroubleAfterEnd ? std::optional(time) : std::nullopt;
}

// The time that is left to an intent that has waited too long; nullopt: the VM has none.
std::optional<absl::Duration> LeftToLateIntent(const NodeVm& row, absl::Time now) {
  if (!row.vm.intent().has_expire_time() || row.vm.state() == v1::VM_STATE_STOPPED) {
    return std::nullopt;
  }
  const absl::Duration left = FromProto(row.vm.intent().expire_time()) - now;
  if (left >= kLateIntent) return std::nullopt;
  return std::max(left, absl::ZeroDuration());
}

}  // namespace

TroubleKind TroubleOf(const NodeVm& row, absl::Time now) {
  if (row.vm.problems_size() > 0) return TroubleKind::kProblem;
  if (row.vm.state() == v1::VM_STATE_GUEST_DOWN) return TroubleKind::kGuestDown;
  if (row.vm.state() == v1::VM_STATE_UNREACHABLE) return TroubleKind::kUnreachable;
  if (row.vm.state() == v1::VM_STATE_PAUSED) return TroubleKind::kPaused;
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
    parts.push_back(why.empty() ? "its CPUs stand" : absl::StrCat("paused ", why));
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
  std::map<std::string, const v1::Event*> last_ends;  // of each name
  for (const NodeEvent& end : report.ends) {
    const v1::Event*& last = last_ends[end.event.vm().name()];
    if (last == nullptr || FromProto(last->observe_time()) < FromProto(end.event.observe_time())) {
      last = &end.event;
    }
  }
  NodeVms rows = report.vms;
  for (NodeVm& row : rows) {
    const auto last = last_ends.extract(row.vm.ref().name());
    if (last.empty()) continue;
    row.ends = 1;
    row.last_end = last.mapped()->shutdown();
    row.last_end_time = FromProto(last.mapped()->observe_time());
  }
  for (const auto& [name, end] : last_ends) {
    NodeVm row = {.node = report.node};
    *row.vm.mutable_ref() = end->vm();
    row.vm.set_state(v1::VM_STATE_STOPPED);
    *row.vm.mutable_state_time() = end->observe_time();
    *row.vm.mutable_shutdown() = end->shutdown();
    rows.push_back(std::move(row));
  }
  std::erase_if(rows, [&](const NodeVm& row) { return TroubleOf(row, now) == TroubleKind::kNone; });
  absl::c_stable_sort(rows, [&](const NodeVm& a, const NodeVm& b) {
    return std::pair(TroubleOf(a, now), a.vm.ref().name()) <
           std::pair(TroubleOf(b, now), b.vm.ref().name());
  });
  return rows;
}

}  // namespace vmeventd::client
