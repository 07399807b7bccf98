#pragma once

#include "absl/strings/string_view.h"
#include "watcher/core/run_info.h"

namespace vmeventd {

// The party that reports on a run (RunInfo::reported_by): how a session treats it, and its texts
// for it.
struct Reporter {
  bool has_qemu;  // it reports QEMU's own events
  // It has the monitor, reports the run state and the end by itself, and may have lost events of
  // QEMU. QEMU is not asked, and there is no shutdown file.
  bool is_manager;
  absl::string_view name;
  absl::string_view state;  // prefix of a run state that it gave
  absl::string_view closed;
  absl::string_view end;           // text for the end of a run whose process is not seen
  absl::string_view reported_end;  // the same, if the reporter reported the end
};

inline constexpr Reporter kMonitorReporter = {
    .has_qemu = true,
    .is_manager = false,
    .name = "the monitor",
    .state = "query-status ",
    .closed = "monitor closed",
    .end = "monitor closed; the process is not tracked, so this is taken as its end",
    .reported_end = "",
};

inline constexpr Reporter kLibvirtReporter = {
    .has_qemu = true,
    .is_manager = true,
    .name = "libvirt",
    .state = "libvirt: state ",
    .closed = "connection to libvirt ended",
    .end = "libvirt does not list it any more, and its process cannot be seen",
    .reported_end = "the process cannot be seen, so libvirt's report is taken as its end",
};

inline constexpr Reporter kContainerReporter = [] {
  Reporter reporter = kLibvirtReporter;
  reporter.has_qemu = false;
  return reporter;
}();

inline const Reporter& ReporterOf(const RunInfo& run) {
  switch (run.reported_by) {
    case ReportedBy::kMonitor:
      break;
    case ReportedBy::kLibvirt:
      return kLibvirtReporter;
    case ReportedBy::kContainerLibvirt:
      return kContainerReporter;
  }
  return kMonitorReporter;
}

}  // namespace vmeventd
