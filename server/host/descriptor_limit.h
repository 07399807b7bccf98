#ifndef VMEVENTD_SERVER_HOST_DESCRIPTOR_LIMIT_H_
#define VMEVENTD_SERVER_HOST_DESCRIPTOR_LIMIT_H_

#include <cstdint>

namespace vmeventd {

// Raises this process's limit of open descriptors as far as it may. Returns what it is now.
uint64_t RaiseDescriptorLimit();

// Who may hold how many of `limit` descriptors: all that is not needed for connections is the VMs',
// and never less than three quarters, so that a low limit costs connections first.
struct DescriptorShares {
  int vms;
  int connections;
};
DescriptorShares ShareDescriptors(uint64_t limit, int wanted_connections);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_HOST_DESCRIPTOR_LIMIT_H_
