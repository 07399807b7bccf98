#pragma once

namespace vmeventd {

// Settings without a flag. Tests use their own program with other values
// (tests/support/tuned_vmeventd.cc).
struct Tuning {
  bool event_limits = true;  // limits the events of each VM
  double list_rate = 200;    // see GrpcServerOptions
};

}  // namespace vmeventd
