#pragma once

#include <string>

#include "absl/time/time.h"
#include "base/unique_fd.h"

namespace vmeventd::bench {

// Counts the shutdown files that appear in a directory.
class FileCounter {
 public:
  explicit FileCounter(const std::string& directory);

  // Returns when `count` files have appeared since the counter was made; fails after
  // e2e::Patience().
  absl::Time Wait(int count);

 private:
  const UniqueFd fd_;
  int seen_ = 0;
};

}  // namespace vmeventd::bench
