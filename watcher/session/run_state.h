#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/compact.h"
#include "watcher/core/run_info.h"
#include "watcher/core/vm_event.h"
#include "watcher/session/evidence_log.h"
#include "watcher/session/guest_agent.h"

namespace vmeventd {

struct RunProblem : Problem {
  enum class Subject { kMonitor, kSilence, kRun, kFile, kExit, kUuid, kPath, kDirectory };
  Subject subject = Subject::kMonitor;
};

struct DeclaredIntent {
  v1::Intent intent;
  absl::Time declared;
  absl::Duration deadline;  // on the monotonic clock
};

// If a monitor is attached this long after its process started, events that matter may have been
// missed.
inline constexpr absl::Duration kLateAttach = absl::Seconds(10);

// Age of a QEMU from which its guest may obey a press of the power button.
inline constexpr absl::Duration kGuestObeys = absl::Seconds(3);

// Everything about an open run that outlives the daemon, and nothing else of a session. Its saved
// form is a message (proto/vmeventd/internal/run_state.proto).
struct RunState {
  RunInfo run;
  Instant attached_at;

  enum class Monitor {
    kNone,    // no greeting yet
    kReady,   // connected, and it answers
    kClosed,  // just ended: a dying QEMU closes it a moment before its process goes
    kLost,    // ended while the process lives on, which was reported
    kUnseen,  // not attached since the daemon's restart
  };
  Monitor monitor = Monitor::kNone;
  VmState state = VmState::kUnreachable;
  VmState published_state = VmState::kUnreachable;  // as the last event published it
  VmState state_before_loss = VmState::kUnreachable;
  absl::Time state_time;
  absl::Time published_state_time;
  std::string pause_reason;  // QEMU's run state while `state` is kPaused; empty: not reported yet
  absl::Time state_time_before_loss;
  std::string uuid;
  Labels labels;
  std::string qemu_version;
  std::vector<RunProblem> problems;  // by subject, at most one of each

  EvidenceLog evidence;
  Rare<DeclaredIntent> intent;          // the open one
  Rare<DeclaredIntent> counted_intent;  // closed; the end still counts as intended by it
  GuestAgent agent;
  Rare<Instant> exiting_since;  // time from which QEMU is expected to exit
  bool file_written = false;    // NAME.shutdown is there, written for this run
  Rare<Instant> unseen_until;   // last time until which nobody listened, since the last RESET
};

// Returns whether QEMU has answered on its monitor, or its manager reports on it.
bool WasAttached(const RunState& state);

std::string SaveRunState(const RunState& state);
// Restores the state of a run, whose monitor is then kLost or kUnseen. INVALID_ARGUMENT: `saved` is
// not from SaveRunState().
absl::StatusOr<RunState> RestoreRunState(absl::string_view saved);

}  // namespace vmeventd
