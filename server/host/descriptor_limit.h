#ifndef VMEVENTD_SERVER_HOST_DESCRIPTOR_LIMIT_H_
#define VMEVENTD_SERVER_HOST_DESCRIPTOR_LIMIT_H_

#include <cstddef>
#include <cstdint>

namespace vmeventd {

// Raises this process's soft limit of open descriptors to the hard limit, if allowed. Returns the
// limit then in force.
uint64_t RaiseDescriptorLimit();

// How `limit` descriptors are shared: VMs get what listeners do not need, and at least three
// quarters, so that a low limit costs connections first. Each of `listeners` wants `wanted`.
struct DescriptorShares {
  int vms;
  int listener;  // of each
};
DescriptorShares ShareDescriptors(uint64_t limit, size_t listeners, int wanted);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_HOST_DESCRIPTOR_LIMIT_H_
