#pragma once

#include <cstddef>

#include "base/system.h"
#include "vmeventd/internal/run_state.pb.h"

namespace vmeventd {

// An open run as a daemon that stops hands it to the next one, in addition to what the journal has
// of it: with the connection to its monitor, from which nobody has read since, and the pidfd of its
// process.
struct HandedRun {
  // Limit of `state.unhandled`.
  static constexpr size_t kMaxUnhandled = 64 << 10;

  internal::HandedRun state;
  UniqueFd connection;  // none: libvirt reports it
  UniqueFd process;     // none: the process is not tracked
};

}  // namespace vmeventd
