#pragma once

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/error_reason.h"

namespace vmeventd {

// Returns the status that a client gets if reading the journal failed: OUT_OF_RANGE for DATA_LOSS.
inline absl::Status ReadError(const absl::Status& read) {
  if (!absl::IsDataLoss(read)) return read;
  return WithReason("JOURNAL_DAMAGED",
                    absl::OutOfRangeError(absl::StrCat(
                        read.message(),
                        ": the journal is damaged, and a restart of vmeventd replaces it; start "
                        "from a snapshot")));
}

}  // namespace vmeventd
