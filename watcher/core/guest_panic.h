#pragma once

#include <cstddef>
#include <string>

#include "watcher/core/qmp_message.h"
#include "watcher/core/vm_event.h"

namespace vmeventd {

inline constexpr size_t kMaxPanicReasonBytes = 64;
inline constexpr size_t kMaxPanicMessageBytes = 256;

// The data of GUEST_PANICKED or GUEST_CRASHLOADED. Members of another type than QEMU's are left
// out; texts are truncated and on one line.
GuestPanic ParseGuestPanic(const QmpObject& data);

// "Hyper-V 0x1e 0xffffffffc0000005 0x0 0x0 0x0"; empty: it says nothing beside its action.
std::string DescribePanic(const GuestPanic& panic);

}  // namespace vmeventd
