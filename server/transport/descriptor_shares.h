#pragma once

#include <cstddef>
#include <cstdint>

namespace vmeventd {

// Shares of the open descriptors. VMs get what listeners do not need, but at least three quarters,
// so that a low limit reduces connections first.
struct DescriptorShares {
  int vms;
  // Limits of each listener; at least 1.
  int connections;
  size_t arrivals;
};
DescriptorShares ShareDescriptors(uint64_t limit, size_t listeners, int max_connections);

// Raises this process's soft limit of open descriptors to the hard limit, if allowed. Returns the
// limit then in force.
uint64_t RaiseDescriptorLimit();

}  // namespace vmeventd
