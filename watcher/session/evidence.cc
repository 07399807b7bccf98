#include "watcher/session/evidence.h"

#include <utility>

namespace vmeventd {
namespace {

// qapi/run-state.json. `none`, `subsystem-reset` and `snapshot-load` do not end a VM; should one
// come with a SHUTDOWN all the same, its `guest` decides.
constexpr std::pair<absl::string_view, ShutdownReason> kReasonNames[] = {
    {"", ShutdownReason::kMissing},
    {"host-error", ShutdownReason::kHostError},
    {"host-qmp-quit", ShutdownReason::kHostQmpQuit},
    {"host-qmp-system-reset", ShutdownReason::kHostQmpSystemReset},
    {"host-signal", ShutdownReason::kHostSignal},
    {"host-ui", ShutdownReason::kHostUi},
    {"guest-shutdown", ShutdownReason::kGuestShutdown},
    {"guest-reset", ShutdownReason::kGuestReset},
    {"guest-panic", ShutdownReason::kGuestPanic},
};

}  // namespace

ShutdownReason ParseShutdownReason(absl::string_view reason) {
  for (const auto& [name, known] : kReasonNames) {
    if (name == reason) return known;
  }
  return ShutdownReason::kOther;
}

}  // namespace vmeventd
