#pragma once

#include "absl/time/time.h"

namespace vmeventd {

// One moment, read from both clocks by the caller: the core never reads a clock. People and other
// nodes read `wall`; ages and deadlines use `monotonic`, so that setting the clock changes no
// verdict.
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

}  // namespace vmeventd
