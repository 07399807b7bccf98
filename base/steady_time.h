#ifndef VMEVENTD_CLIENT_CONNECT_STEADY_TIME_H_
#define VMEVENTD_CLIENT_CONNECT_STEADY_TIME_H_

#include <chrono>

#include "absl/time/time.h"

namespace vmeventd::client {

// A clock that is never set; tests replace it.
inline absl::Time SteadyNow() {
  return absl::UnixEpoch() + absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_STEADY_TIME_H_
