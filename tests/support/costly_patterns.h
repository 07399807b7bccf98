#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace vmeventd {

// Patterns that require as many byte comparisons as possible with names that consist of "a".
inline std::vector<std::string> CostlyPatterns() {
  std::vector<std::string> out(32);
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = "*" + std::string(100, 'a') + "b" + std::string(i, '?') + "*";
  }
  return out;
}

}  // namespace vmeventd
