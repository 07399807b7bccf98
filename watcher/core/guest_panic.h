#pragma once

#include <cstddef>
#include <string>

#include "vmeventd/v1/vm_events.pb.h"
#include "watcher/core/qmp_message.h"

// A guest's panic as QEMU reports it. Pure.

namespace vmeventd {

inline constexpr size_t kMaxPanicReasonBytes = 64;
inline constexpr size_t kMaxPanicMessageBytes = 256;

// The data of GUEST_PANICKED or GUEST_CRASHLOADED. Members of another type than QEMU's are left
// out; texts are truncated and on one line.
v1::GuestPanic ParseGuestPanic(const QmpObject& data);

// Describes a panic for people: "Hyper-V 0x1e 0xffffffffc0000005 0x0 0x0 0x0"; empty: only its
// action is known.
std::string DescribePanic(const v1::GuestPanic& panic);

}  // namespace vmeventd
