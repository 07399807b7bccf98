#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

// The file `journal.db.damaged`: why a running vmeventd stopped to use its journal. It outlives
// vmeventd, so that the next start decides what becomes of the journal.

namespace vmeventd {

// Ends a reason for which the file cannot be used, whether or not it passes a check.
inline constexpr absl::string_view kRestart = "; restart vmeventd";

// Writes the report, unless there is one. Any thread.
void ReportDamage(const std::string& journal_path, absl::string_view why);
void RemoveDamageReport(const std::string& journal_path);

// Checks the journal again if its damage was reported. Returns
//   OK           there is no report, or the file passes a check now: then the report is removed
//   DATA_LOSS    the damage is confirmed, or the file is not there, or its reason needs no check
//   UNAVAILABLE  the file cannot be read now: try again
absl::Status CheckReportedDamage(const std::string& journal_path);

}  // namespace vmeventd
