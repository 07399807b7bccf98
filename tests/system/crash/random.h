#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace vmeventd::crash {

// Every random choice of the harness, from one seed.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}

  // In [0, bound).
  uint64_t Below(uint64_t bound) { return engine_() % bound; }
  bool Percent(unsigned percent) { return Below(100) < percent; }
  template <typename T>
  const T& Pick(const std::vector<T>& values) {
    return values[Below(values.size())];
  }

 private:
  std::mt19937_64 engine_;  // the same numbers on every machine
};

}  // namespace vmeventd::crash
