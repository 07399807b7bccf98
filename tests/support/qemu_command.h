#pragma once

#include <string>
#include <vector>

namespace vmeventd::e2e {

enum class Boot {
  kSector,         // a boot sector that obeys the power button and the methods of Guest (guest.h)
  kLinux,          // a kernel with a shell on the serial line; takes ten times as long
  kLinuxFromBios,  // like kLinux, but slower, and able to wake up from suspend to RAM
  kNothing,        // a machine without memory and processor, for a cheap QEMU
};

// The kernel skips initializations that no test needs; they take a fifth of the boot time.
inline constexpr char kGuestKernelArguments[] =
    "console=ttyS0 quiet nokaslr mitigations=off no_timer_check rodata=off cryptomgr.notests "
    "initcall_blacklist=load_system_certificate_list,init_kprobe_trace";

// The command line of a QEMU with this boot method, without monitors, serial line and UUID, and for
// kSector without its disk.
std::vector<std::string> QemuCommand(Boot boot, const std::string& kernel_arguments = "");

}  // namespace vmeventd::e2e
