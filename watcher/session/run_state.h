#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/rare.h"
#include "watcher/core/labels.h"
#include "watcher/core/run_info.h"
#include "watcher/session/evidence_log.h"
#include "watcher/session/exit_wait.h"
#include "watcher/session/guest_agent.h"
#include "watcher/session/run_intents.h"
#include "watcher/session/run_problems.h"
#include "watcher/session/vm_state_record.h"

namespace vmeventd {

// Everything about an open run that outlives the daemon. Its parts say which of their members do
// not. Its saved form is a message (proto/vmeventd/internal/run_state.proto).
struct RunState {
  RunInfo run;
  Instant attached_at;

  bool monitor_lost = false;  // MonitorLink::lost(), as of the end of each step
  VmStateRecord vm;
  std::string uuid;
  Labels labels;
  std::string qemu_version;
  RunProblems problems;

  EvidenceLog evidence;
  RunIntents intents;
  GuestAgent agent;
  ExitWait exit;
  bool file_written = false;   // NAME.shutdown is there, written for this run
  Rare<Instant> unseen_until;  // last time until which nobody listened, since the last RESET
};

// Returns whether QEMU has answered on its monitor, or its manager reports on it.
bool WasAttached(const RunState& state);

std::string SaveRunState(const RunState& state);
// Restores the state of a run. INVALID_ARGUMENT: `saved` is not from SaveRunState().
absl::StatusOr<RunState> RestoreRunState(absl::string_view saved);

}  // namespace vmeventd
