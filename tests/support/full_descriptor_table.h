#pragma once

#include <sys/resource.h>

#include <vector>

#include "base/unique_fd.h"

namespace vmeventd {

// Occupies every free descriptor of the process while it exists.
class FullDescriptorTable {
 public:
  FullDescriptorTable();
  ~FullDescriptorTable();
  FullDescriptorTable(const FullDescriptorTable&) = delete;
  FullDescriptorTable& operator=(const FullDescriptorTable&) = delete;

 private:
  rlimit before_{};
  std::vector<UniqueFd> taken_;
};

}  // namespace vmeventd
