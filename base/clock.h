#ifndef VMEVENTD_BASE_CLOCK_H_
#define VMEVENTD_BASE_CLOCK_H_

#include "base/instant.h"

namespace vmeventd {

// Where the time comes from, so that a test can hold it in its hand.
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
