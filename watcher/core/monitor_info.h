#pragma once

#include <string>

#include "watcher/core/qemu_traits.h"

namespace vmeventd {

// The result of a handshake with QEMU: its answers on its monitor, and its command line. Text is
// UTF-8; empty where QEMU did not answer.
struct MonitorInfo {
  std::string qemu_version;
  std::string run_state;  // query-status
  std::string uuid;       // query-uuid; the null UUID is given as ""
  std::string qemu_name;  // query-name
  QemuTraits traits;
};

}  // namespace vmeventd
