#pragma once

#include <fcntl.h>

#include <array>

#include "absl/status/status.h"
#include "base/unique_fd.h"

namespace vmeventd {

// A few descriptors held back, so that a full descriptor table does not keep a short and important
// operation, such as writing a shutdown file, from being done.
class SpareDescriptors {
 public:
  SpareDescriptors() { Refill(); }

  // Takes what is missing, if the process has room again. To be called now and then.
  void Refill() {
    for (UniqueFd& spare : spares_) {
      if (spare.valid()) continue;
      spare = UniqueFd(open("/dev/null", O_RDONLY | O_CLOEXEC));
      if (!spare.valid()) return;
    }
  }

  // Does `operation` (it returns an absl::Status), and once more with the spare descriptors given
  // back to the process if it was RESOURCE_EXHAUSTED.
  template <typename Operation>
  absl::Status Do(Operation operation) {
    absl::Status status = operation();
    if (!absl::IsResourceExhausted(status)) return status;
    for (UniqueFd& spare : spares_) spare.Reset();
    status = operation();
    Refill();
    return status;
  }

 private:
  std::array<UniqueFd, 4> spares_;
};

}  // namespace vmeventd
