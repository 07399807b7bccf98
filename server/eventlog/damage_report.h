#pragma once

#include <string>

#include "absl/status/status.h"

// The file `journal.db.damaged`. Its first line is "check" or "replace": what the next start does
// with the journal. Below is why a running vmeventd stopped using it, for people.

namespace vmeventd {

// The same DATA_LOSS, for a file that cannot be used whether or not it passes a check.
absl::Status WithoutCheck(absl::Status damage);

// Writes the report of a DATA_LOSS, unless there is one. `is_connected`: a connection is open, so
// that the journal must have its -wal; without that, the file may pass a check though events are
// missing. Any thread.
void ReportDamage(const std::string& journal_path, const absl::Status& damage, bool is_connected);
void RemoveDamageReport(const std::string& journal_path);

// Checks the journal again if its damage was reported. Returns
//   OK           there is no report, or the file passes a check now: then the report is removed
//   DATA_LOSS    the damage is confirmed, or the file is not there, or its reason needs no check
//   UNAVAILABLE  the file cannot be read now: try again
absl::Status CheckReportedDamage(const std::string& journal_path);

}  // namespace vmeventd
