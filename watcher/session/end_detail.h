#pragma once

#include <string>

#include "absl/time/time.h"
#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/signal_sender.h"
#include "watcher/session/classification.h"
#include "watcher/session/run_state.h"

namespace vmeventd {

// Facts that the detail of an end shows besides the saved state of its run.
struct EndContext {
  Verdict verdict;
  absl::Duration powerdown_window;   // as for the verdict
  absl::Duration closed_at;          // the monitor's end, on the monotonic clock
  bool restored_unattached = false;  // its monitor was not attached since the daemon's start
  // Last words, numbers and core, as far as they were read; null: its process is not gone.
  const v1::ShutdownDetail* read = nullptr;
};

// Returns the detail of the end of a run, or of its guest's end while QEMU stays alive: the verdict
// with its caveats, and the evidence by time. Pure.
v1::ShutdownDetail MakeEndDetail(const RunState& state, const EndContext& context);

// Returns the message of STOPPED: how the run ended, by the facts in `detail`. `sender`: who sent
// the signal that ended it; null: none, or not known.
std::string StoppedMessage(const v1::ShutdownDetail& detail, const SignalSender* sender);

}  // namespace vmeventd
