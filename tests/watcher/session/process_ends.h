#pragma once

#include "watcher/core/process_end.h"

namespace vmeventd {

// Returns the end of a process that this signal killed.
inline ProcessEnd Signal(int signal) { return {ExitStatus{0, signal}, false}; }
// Returns the end of a process that exited with this code.
inline ProcessEnd Exited(int code) { return {ExitStatus{code, 0}, false}; }

}  // namespace vmeventd
