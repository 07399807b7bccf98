#pragma once

#include <string>

#include "watcher/core/labels.h"

namespace vmeventd {

// QEMU's answers in the handshake on its monitor. Text is UTF-8; empty where QEMU did not answer.
struct MonitorInfo {
  std::string qemu_version;
  std::string run_state;        // query-status
  std::string uuid;             // query-uuid; the null UUID is given as ""
  std::string qemu_name;        // query-name
  bool guest_can_exit = false;  // see QemuArguments, also for the next three
  bool stays_down = false;
  bool no_panic_device = false;
  Labels labels;
};

}  // namespace vmeventd
