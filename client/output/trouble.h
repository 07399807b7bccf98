#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/output/node_report.h"
#include "client/output/node_vm.h"

// Finds the VMs that need attention now. Pure.

namespace vmeventd::client {

// Time for which a crash, or an end without a known reason, counts as trouble.
inline constexpr absl::Duration kTroubleAfterEnd = absl::Hours(24);

// Time before an intent's expiry from which the intent is overdue if its VM still runs.
inline constexpr absl::Duration kLateIntent = absl::Minutes(2);

// Kinds of trouble of a VM, the worst first. An end of class CRASH or UNKNOWN, of any run of the
// VM, counts until a later run has ended with another class.
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

// The VMs of a node that have trouble, in the order of TroubleKind: of the rows that RowsOf() makes
// of the VMs that run and of the ends in the report, as `vms --trouble` has them.
NodeVms TroubledVms(const NodeReport& report, absl::Time now);

}  // namespace vmeventd::client
