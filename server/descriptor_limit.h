#ifndef VMEVENTD_SERVER_DESCRIPTOR_LIMIT_H_
#define VMEVENTD_SERVER_DESCRIPTOR_LIMIT_H_

#include <cstdint>

namespace vmeventd {

// Raises this process's limit of open descriptors as far as it may. Returns what it is now.
uint64_t RaiseDescriptorLimit();

// How many of `limit` descriptors VMs may hold together: some are kept for the clients.
int VmDescriptors(uint64_t limit);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_DESCRIPTOR_LIMIT_H_
