#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "base/counter.h"

namespace vmeventd {

// Limits for all monitors of one watcher: how much each reads in a turn of the loop, and the total
// memory of their incomplete lines. Loop thread.
class MonitorBudget {
 public:
  static constexpr size_t kTurnBytes = 64 << 10;
  static constexpr size_t kMaxHeldBytes = 64 << 20;

  // Buffer that a monitor reads into during a call.
  absl::Span<char> buffer() { return absl::MakeSpan(buffer_); }

  // Changes what a monitor holds from `*held` bytes to `bytes`. False, and nothing has changed: all
  // monitors together would hold too much.
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
  // Number of times that Hold() returned false. Any thread.
  uint64_t refused() const { return refused_.value(); }

 private:
  std::vector<char> buffer_ = std::vector<char>(kTurnBytes);
  size_t held_ = 0;
  Counter refused_;
};

}  // namespace vmeventd
