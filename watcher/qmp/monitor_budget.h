#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "base/counter.h"

namespace vmeventd {

// The shares of all monitors of one watcher: what each reads in a turn of the loop, and the memory
// of their unfinished lines together. Loop thread.
class MonitorBudget {
 public:
  static constexpr size_t kTurnBytes = 64 << 10;
  static constexpr size_t kMaxHeldBytes = 64 << 20;

  // Buffer that a monitor reads into during a call.
  absl::Span<char> buffer() { return absl::MakeSpan(buffer_); }

  // A monitor that held `*held` bytes holds `bytes`. False, and nothing has changed: all together
  // would hold too much.
  bool Hold(size_t* held, size_t bytes) {
    if (bytes > *held && held_ - *held + bytes > kMaxHeldBytes) {
      refused_.Add();
      return false;
    }
    held_ += bytes - *held;
    *held = bytes;
    return true;
  }
  // Memory of all monitors.
  size_t held() const { return held_; }
  // Monitors that could not hold more. Any thread.
  uint64_t refused() const { return refused_.value(); }

 private:
  std::vector<char> buffer_ = std::vector<char>(kTurnBytes);
  size_t held_ = 0;
  Counter refused_;
};

}  // namespace vmeventd
