#pragma once

#include <cstdint>

namespace vmeventd {

// What a source counts, as a metric. It only grows, from the making of the watcher on.
struct SourceCounter {
  const char* name;  // of the metric: vmeventd_..._total
  const char* help;  // a sentence without a full stop
  uint64_t value = 0;
};

}  // namespace vmeventd
