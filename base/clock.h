#pragma once

#include <chrono>

#include "absl/time/time.h"

namespace vmeventd {

// One moment, read from both clocks by the caller: the core never reads a clock. People and other
// nodes read `wall`; ages and deadlines use `monotonic`, so that setting the clock changes no
// verdict. Both QEMU and its managers stand still while the node is suspended, as `monotonic` does.
struct Instant {
  absl::Time wall;
  absl::Duration monotonic;  // time since an arbitrary origin (CLOCK_MONOTONIC)
};

// The source of the time, which tests replace.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual Instant Now() const = 0;
};

// The node's clocks. Callable from any thread.
class SystemClock : public Clock {
 public:
  Instant Now() const override;
};

// Real time, by a clock that cannot be set.
inline absl::Time SteadyNow() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace vmeventd
