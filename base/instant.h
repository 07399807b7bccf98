#ifndef VMEVENTD_BASE_INSTANT_H_
#define VMEVENTD_BASE_INSTANT_H_

#include "absl/time/time.h"

namespace vmeventd {

// One moment, read from both clocks by the caller: the core never asks for the time.
// `wall` is what people and other nodes read; `monotonic` is for ages and deadlines, so that a
// stepped clock changes no verdict.
struct Instant {
  absl::Time wall;
  absl::Duration monotonic;  // since an arbitrary origin (CLOCK_MONOTONIC)
};

}  // namespace vmeventd

#endif  // VMEVENTD_BASE_INSTANT_H_
