#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace vmeventd {

// A count that only grows. Any thread; orders no other memory access.
class Counter {
 public:
  Counter() = default;
  // Copies the present value.
  Counter(const Counter& other) : value_(other.value()) {}
  operator uint64_t() const { return value(); }  // NOLINT(google-explicit-constructor): a number
  void Add(uint64_t count = 1) { value_.fetch_add(count, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// A value that goes up and down. Any thread; orders no other memory access.
class Level {
 public:
  void Set(uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> value_{0};
};

// Latencies, counted in fixed buckets. Any thread, without a lock: a Snapshot may contain a latency
// in one of its members but not yet in the other.
class LatencyHistogram {
 public:
  // The buckets' inclusive upper bounds, in seconds; one more bucket counts what exceeds them.
  static constexpr std::array<double, 18> kBounds = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
                                                     0.01,   0.025,   0.05,   0.1,   0.25,   0.5,
                                                     1,      2.5,     5,      10,    30,     60};
  struct Snapshot {
    std::array<uint64_t, kBounds.size() + 1> counts{};  // per bucket, not cumulative
    absl::Duration sum;
  };

  // Counts one latency. A negative one (a clock was set back) counts as zero.
  void Observe(absl::Duration latency) {
    latency = std::max(latency, absl::ZeroDuration());
    const auto* const bound =
        std::lower_bound(kBounds.begin(), kBounds.end(), absl::ToDoubleSeconds(latency));
    counts_[bound - kBounds.begin()].fetch_add(1, std::memory_order_relaxed);
    sum_ns_.fetch_add(absl::ToInt64Nanoseconds(latency), std::memory_order_relaxed);
  }
  Snapshot Read() const {
    Snapshot out;
    for (size_t i = 0; i < counts_.size(); ++i) {
      out.counts[i] = counts_[i].load(std::memory_order_relaxed);
    }
    out.sum = absl::Nanoseconds(sum_ns_.load(std::memory_order_relaxed));
    return out;
  }

 private:
  std::array<std::atomic<uint64_t>, kBounds.size() + 1> counts_{};
  std::atomic<int64_t> sum_ns_{0};
};

}  // namespace vmeventd
