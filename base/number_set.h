#pragma once

#include <cstdint>

namespace vmeventd {

// A set of an enumeration's numbers, below 64. An empty list means all numbers; any other list,
// only its own. Immutable; any thread.
class NumberSet {
 public:
  NumberSet() = default;
  template <typename Numbers>
  explicit NumberSet(const Numbers& numbers) {
    for (const int number : numbers) bits_ |= uint64_t{1} << (number & 63);
  }

  // 0 is only in the set of all numbers.
  bool Has(int number) const {
    return bits_ == 0 || (number > 0 && number < 64 && (bits_ >> number & 1) != 0);
  }
  bool has_all() const { return bits_ == 0; }
  uint64_t bits() const { return bits_; }

 private:
  uint64_t bits_ = 0;
};

}  // namespace vmeventd
