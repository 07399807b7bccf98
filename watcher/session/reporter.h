#pragma once

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "watcher/core/run_info.h"

// Texts about the party that reports on a run: QEMU's monitor, or the manager that has it.

namespace vmeventd {

inline std::string ReporterName(const RunInfo& run) {
  return run.has_manager ? run.source_key : "the monitor";
}

// A run state as it was reported, such as "query-status running" or "libvirt: state running".
inline std::string ReportedState(const RunInfo& run, absl::string_view run_state) {
  return run.has_manager ? absl::StrCat(run.source_key, ": state ", run_state)
                         : absl::StrCat("query-status ", run_state);
}

// The end of the connection to the reporter.
inline std::string ReporterClosed(const RunInfo& run) {
  return run.has_manager ? absl::StrCat("connection to ", run.source_key, " ended")
                         : "monitor closed";
}

// The reason for the end of a run whose process is not seen. `reported`: the manager reported the
// end.
inline std::string EndOfUnseen(const RunInfo& run, bool reported) {
  if (!run.has_manager) {
    return "monitor closed; the process is not tracked, so this is taken as its end";
  }
  if (reported) {
    return absl::StrCat("the process cannot be seen, so ", run.source_key,
                        "'s report is taken as its end");
  }
  return absl::StrCat(run.source_key, " does not list it any more, and its process cannot be seen");
}

}  // namespace vmeventd
