#ifndef VMEVENTD_BASE_INSTANT_H_
#define VMEVENTD_BASE_INSTANT_H_

#include "absl/time/time.h"

namespace vmeventd {

// One moment, read from both clocks by the caller: the core never reads a clock. People and other
// nodes read `wall`; ages and deadlines use `monotonic`, so that setting the clock changes no
// verdict.
struct Instant {
  absl::Time wall;
  absl::Duration monotonic;  // since an arbitrary origin (CLOCK_MONOTONIC)
};

}  // namespace vmeventd

#endif  // VMEVENTD_BASE_INSTANT_H_
