#pragma once

#include "base/unique_fd.h"

namespace vmeventd::e2e {

// A TCP connection whose close takes an hour, because nobody reads its data.
struct LingeringConnection {
  UniqueFd listener;
  UniqueFd peer;
  UniqueFd socket;
};
LingeringConnection MakeLingering();

}  // namespace vmeventd::e2e
