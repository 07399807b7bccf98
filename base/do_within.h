#pragma once

#include <functional>

#include "absl/time/time.h"

namespace vmeventd {

// Longest wait for the file system of a path that the configuration names.
inline constexpr absl::Duration kFileSystemPatience = absl::Seconds(1);

// Does `job` on a thread that blocks all signals, and waits for it, at most `limit`. Returns
// whether it was done. If not, the job continues, so it may refer only to what it owns. Any thread.
bool DoWithin(absl::Duration limit, std::function<void()> job);

}  // namespace vmeventd
