#pragma once

#include "watcher/core/labels.h"

namespace vmeventd {

// Traits of a QEMU that its command line shows: of its VM, and of its end. Without a command line
// nothing is known: all false, no labels.
struct QemuTraits {
  bool guest_can_exit = false;  // its guest can end it with a code: isa-debug-exit, semihosting
  // QEMU may stay alive when its guest is down: -no-shutdown, -action ...=pause.
  bool stays_down = false;
  // It emulates x86, its command line has no device that reports a guest's panic (pvpanic, the
  // crash registers of Hyper-V), and it reads no further file (-readconfig).
  bool no_panic_device = false;
  // Labels from -fw_cfg name=opt/vmeventd/labels,string=KEY=VALUE,,KEY=VALUE. Invalid keys, and
  // labels beyond the limits, are dropped.
  Labels labels;
};

}  // namespace vmeventd
