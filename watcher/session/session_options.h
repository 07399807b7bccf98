#pragma once

#include <vector>

#include "absl/time/time.h"
#include "watcher/core/label_rule.h"

namespace vmeventd {

struct SessionOptions {
  absl::Duration powerdown_window = absl::Minutes(10);
  // Interval of questions to a QEMU whose VM runs, which show that it answers; InfiniteDuration:
  // none are asked.
  absl::Duration hang_check = absl::InfiniteDuration();
  // Start of the daemon. Input that waited in a connection that was handed over is older.
  absl::Time started = absl::InfinitePast();
  // Last sign of life of the previous daemon: the runs that it left open were open then.
  // InfinitePast: not known.
  absl::Time last_watched = absl::InfinitePast();
  std::vector<LabelRule> label_rules;  // of the configuration, for VMs by their names
  bool event_limits = true;            // false: every event is published
  bool last_words = false;             // the caller can carry out ReadLastWords
};

}  // namespace vmeventd
