#pragma once

#include <functional>
#include <utility>

#include "tests/support/manual_clock.h"

namespace vmeventd {

// A clock that calls a function when it is read.
class BusyClock : public ManualClock {
 public:
  Instant Now() const override {
    if (looks_ > 0 && --looks_ == 0) then_();
    return ManualClock::Now();
  }
  // Calls `then` at the read with the number `look`, counted from now.
  void Do(int look, std::function<void()> then) {
    looks_ = look;
    then_ = std::move(then);
  }

 private:
  mutable int looks_ = 0;
  std::function<void()> then_;
};

}  // namespace vmeventd
