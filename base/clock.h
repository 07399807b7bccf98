#ifndef VMEVENTD_BASE_CLOCK_H_
#define VMEVENTD_BASE_CLOCK_H_

#include "base/instant.h"

namespace vmeventd {

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

#endif  // VMEVENTD_BASE_CLOCK_H_
