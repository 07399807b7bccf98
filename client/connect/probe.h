#pragma once

#include <string>

#include "client/connect/server_address.h"

// A look at an address, for what gRPC's errors do not distinguish. Any thread.

namespace vmeventd::client {

// The result of probing an address: it distinguishes a missing socket from a forbidden one.
struct ProbeResult {
  int error = 0;      // an errno (exact only for a Unix socket); 0: a process listens
  std::string why{};  // why nothing answers: a sentence without a full stop
  // The group whose members have the denied permission; empty: only root and the owner have it.
  std::string group{};
  int daemon = 0;  // pid of the vmeventd that listens on a Unix socket; 0: not known
};

// Probes with stat() and connect(), which takes at most 2 s for each address of a host.
ProbeResult Probe(const ServerAddress& address);

}  // namespace vmeventd::client
