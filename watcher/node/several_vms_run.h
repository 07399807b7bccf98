#pragma once

#include <algorithm>
#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "base/error_reason.h"

namespace vmeventd {

// Returns the status of a request whose `field` matches several running VMs, `described` as "named
// \"web\"". Lists the first ten of their run ids.
inline absl::Status SeveralVmsRun(absl::string_view field, absl::string_view described,
                                  std::vector<absl::string_view> run_ids) {
  constexpr size_t kMaxListed = 10;
  const size_t all = run_ids.size();
  run_ids.resize(std::min(all, kMaxListed));
  return WithFact(
      "run_ids", absl::StrJoin(run_ids, ","),
      WithReason("SEVERAL_VMS_RUN",
                 absl::FailedPreconditionError(absl::StrCat(
                     field, ": ", all, " VMs ", described, " run; set run_id to one of ",
                     absl::StrJoin(run_ids, ", "), all > kMaxListed ? ", ..." : ""))));
}

}  // namespace vmeventd
