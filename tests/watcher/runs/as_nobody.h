#pragma once

#include <unistd.h>

#include <cstdlib>

namespace vmeventd {

// Makes this process act as another user, who may not look into the processes of the first.
class AsNobody {
 public:
  AsNobody() : possible_(seteuid(65534) == 0) {}
  ~AsNobody() {
    if (possible_ && seteuid(0) != 0) std::abort();
  }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;

  bool possible() const { return possible_; }

 private:
  const bool possible_;
};

}  // namespace vmeventd
