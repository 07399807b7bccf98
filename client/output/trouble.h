#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/output/node_vm.h"

// Which VMs need somebody now. Pure.

namespace vmeventd::client {

// The time for which a crash, or an end of which nobody knows why, counts as trouble.
inline constexpr absl::Duration kTroubleAfterEnd = absl::Hours(24);

// An intent has waited too long if its VM still runs when so little of its time is left.
inline constexpr absl::Duration kLateIntent = absl::Minutes(2);

// Kinds of trouble of a VM; the worst first. An end of class CRASH or UNKNOWN, of any of its runs,
// counts as long as no later run has ended otherwise.
enum class TroubleKind {
  kProblem,
  kGuestDown,
  kUnreachable,
  kPaused,
  kIntentWaits,
  kCrashed,
  kEndedUnknown,
  kNone
};
TroubleKind TroubleOf(const NodeVm& row, absl::Time now);

// The cause in one line: "monitor held by another client, ..."; not escaped.
std::string TroubleText(const NodeVm& row, absl::Time now);

// The VMs of a node that have trouble, the worst first: of those that run, and of those whose last
// end the report has.
NodeVms TroubledVms(const NodeReport& report, absl::Time now);

}  // namespace vmeventd::client
