#pragma once

#include "absl/time/time.h"

namespace vmeventd::simulation {

// An intent for a life, as the client that declared it knows it.
struct Declared {
  absl::Duration asked;
  absl::Duration answered = absl::InfiniteDuration();  // time of an OK answer
  absl::Duration ttl;
  bool counter_refused = false;  // there was no descriptor to read the counter of kills for memory
  bool withdrawn = false;
  absl::Duration withdrawn_at = absl::InfiniteDuration();  // time of an OK withdrawal
  int asked_daemon = 0;  // daemon that was asked to withdraw it; 0: none, or it has answered
  absl::Duration asked_daemon_at;  // time of that request
};

}  // namespace vmeventd::simulation
