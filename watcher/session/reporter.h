#pragma once

#include "absl/strings/string_view.h"
#include "watcher/core/run_info.h"

namespace vmeventd {

// The party that reports on a run (RunInfo::reported_by): how a session treats it, and its texts
// for it.
struct Reporter {
  bool has_qemu;            // it reports QEMU's own events
  bool is_manager;          // it has the monitor, reports the end, and may have lost events of QEMU
  bool can_be_asked;        // it answers queries of the run state
  bool has_shutdown_file;   // the VM has one
  absl::string_view state;  // prefix of a run state that it gave
  absl::string_view closed;
  absl::string_view end;           // end of a run whose process is not seen
  absl::string_view reported_end;  // the same, where it has reported one
  absl::string_view regained;
  absl::string_view was_lost;
  // Texts before and after the reason.
  absl::string_view lost, lost_end;
  absl::string_view lost_message, lost_message_end;
  ProblemCode lost_code = ProblemCode::kMonitorLost;  // of both problems
  absl::string_view lost_problem;                     // prefix of the reason
  absl::string_view away_problem;
  absl::string_view away_message;
};

inline constexpr Reporter kMonitorReporter = {
    .has_qemu = true,
    .is_manager = false,
    .can_be_asked = true,
    .has_shutdown_file = true,
    .state = "query-status ",
    .closed = "monitor closed",
    .end = "monitor closed; the process is not tracked, so this is taken as its end",
    .reported_end = "",
    .regained = "the monitor is connected",
    .was_lost = "its monitor was lost",
    .lost = "monitor closed (",
    .lost_end = ") while the process lives",
    .lost_message = "the monitor closed (",
    .lost_message_end = "), but QEMU still runs: the VM has not ended",
    .lost_problem = "monitor lost: ",
    .away_problem = "vmeventd has not connected to the monitor since it started",
    .away_message =
        "vmeventd restarted and cannot connect to the monitor, but QEMU still runs: the VM has not "
        "ended",
};

inline constexpr Reporter kLibvirtReporter = {
    .has_qemu = true,
    .is_manager = true,
    .can_be_asked = false,  // it reports the run state by itself
    .has_shutdown_file = false,
    .state = "libvirt: state ",
    .closed = "connection to libvirt ended",
    .end = "libvirt does not list it any more, and its process cannot be seen",
    .reported_end = "the process cannot be seen, so libvirt's report is taken as its end",
    .regained = "libvirt is connected again",
    .was_lost = "libvirt was lost",
    .lost = "libvirt lost (",
    .lost_end = ")",
    .lost_message = "the connection to libvirt was lost (",
    .lost_message_end = "): this does not mean that the VM has ended",
    .lost_code = ProblemCode::kLibvirtLost,
    .lost_problem = "libvirt lost: ",
    .away_problem = "vmeventd has not connected to libvirt since it started",
    .away_message =
        "vmeventd restarted and cannot connect to libvirt: this does not mean that the VM has "
        "ended",
};

inline constexpr Reporter kContainerReporter = [] {
  Reporter reporter = kLibvirtReporter;
  reporter.has_qemu = false;
  return reporter;
}();

inline const Reporter& ReporterOf(const RunInfo& run) {
  switch (run.reported_by) {
    case ReportedBy::kMonitor:
      return kMonitorReporter;
    case ReportedBy::kLibvirt:
      return kLibvirtReporter;
    case ReportedBy::kContainerLibvirt:
      return kContainerReporter;
  }
  return kMonitorReporter;
}

}  // namespace vmeventd
