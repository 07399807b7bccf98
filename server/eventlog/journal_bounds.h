#pragma once

#include <cstdint>

#include "absl/time/time.h"

namespace vmeventd {

// Bounds of the journal's rows.
struct JournalBounds {
  uint64_t oldest = 1;  // the first event; newest + 1 without one
  uint64_t newest = 0;  // the last event; without one, the sequence before the first
  // Every event up to `deleted` was deleted, and some of those up to `thinned`.
  uint64_t deleted = 0;
  uint64_t thinned = 0;
  int64_t events = 0;
  absl::Time oldest_time = absl::InfiniteFuture();
};

}  // namespace vmeventd
