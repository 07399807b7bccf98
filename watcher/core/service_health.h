#pragma once

namespace vmeventd {

// State of one service of the health protocol (grpc.health.v1).
struct ServiceHealth {
  const char* service;
  bool serves;
};

}  // namespace vmeventd
