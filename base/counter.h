#pragma once

#include <atomic>
#include <cstdint>

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

}  // namespace vmeventd
