#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/system.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {

// Place where a monitor's connection stopped.
struct HandedMonitor {
  static constexpr size_t kMaxUnhandled = 64 << 10;

  std::string unhandled;  // input not handled yet: whole lines, then the beginning of one
  int64_t speaker_pid = 0;
  bool answer_due = false;  // QEMU was asked, and has not answered
  bool ending = false;      // a SHUTDOWN stands: nothing is asked
  bool status_wanted = false;
  bool agent_wanted = false;
};

// An open run as a daemon that stops hands it to the next one, beside what the journal keeps of it:
// with the connection to its monitor, from which nobody has read since, and the pidfd of its
// process.
struct HandedRun {
  std::string run_id;
  uint64_t saved = 0;              // StableHash() of the text that the journal keeps
  int64_t pid = 0;                 // of its process, in this PID namespace; 0: it is not tracked
  std::optional<int> wait_status;  // of its process, if the process connector had reported its end
  HandedSession session;
  HandedMonitor monitor;
  uint32_t socket_owner = 0;  // the user whose socket it was found at
  UniqueFd connection;        // none: libvirt reports it
  UniqueFd process;           // none: the process is not tracked
};

// All but the descriptors, as bytes (proto/vmeventd/internal/run_state.proto).
std::string WriteHandedRun(const HandedRun& run);
// INVALID_ARGUMENT: not from WriteHandedRun().
absl::StatusOr<HandedRun> ReadHandedRun(absl::string_view text);

}  // namespace vmeventd
