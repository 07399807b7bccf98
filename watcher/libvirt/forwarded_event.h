#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "watcher/core/qmp_message.h"

namespace vmeventd {

// A QEMU event that libvirt forwards: its name, its time ({-1, -1}: QEMU did not know), its
// `data` as JSON ("" if it has none). Unset: it is malformed. Pure.
std::optional<QmpEvent> ForwardedEvent(const std::string& name, int64_t seconds,
                                       uint32_t microseconds, const std::string& data);

}  // namespace vmeventd
