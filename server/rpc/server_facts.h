#pragma once

#include <string>

#include "absl/time/time.h"

namespace vmeventd {

// The part of GetServerInfo that never changes.
struct ServerFacts {
  std::string version;
  std::string node;
  absl::Time start_time;
};

}  // namespace vmeventd
