#include "base/backoff.h"

#include "absl/random/random.h"

namespace vmeventd {

double RandomFraction() {
  thread_local absl::BitGen generator;
  return absl::Uniform(generator, 0.0, 1.0);
}

}  // namespace vmeventd
