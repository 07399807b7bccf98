#pragma once

#include <string>
#include <vector>

#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::e2e {

// The end of a VM: who ended it, and how.
struct VmEnd {
  v1::ShutdownClass shutdown_class;
  v1::ShutdownCause cause;
};
inline constexpr VmEnd kGuestPoweroff = {v1::SHUTDOWN_CLASS_USER,
                                         v1::SHUTDOWN_CAUSE_GUEST_POWEROFF};
inline constexpr VmEnd kGuestRebootExit = {v1::SHUTDOWN_CLASS_USER,
                                           v1::SHUTDOWN_CAUSE_GUEST_REBOOT_EXIT};
inline constexpr VmEnd kHostQuit = {v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_HOST_QUIT};
inline constexpr VmEnd kHostPowerdown = {v1::SHUTDOWN_CLASS_ADMIN,
                                         v1::SHUTDOWN_CAUSE_HOST_POWERDOWN};
inline constexpr VmEnd kHostSignal = {v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_HOST_SIGNAL};
inline constexpr VmEnd kHostDestroy = {v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_HOST_DESTROY};
inline constexpr VmEnd kHostSave = {v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_HOST_SAVE};
inline constexpr VmEnd kHostKill = {v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_HOST_KILL};
inline constexpr VmEnd kMigratedAway = {v1::SHUTDOWN_CLASS_ADMIN, v1::SHUTDOWN_CAUSE_MIGRATED_AWAY};
inline constexpr VmEnd kMigrationFailed = {v1::SHUTDOWN_CLASS_ADMIN,
                                           v1::SHUTDOWN_CAUSE_MIGRATION_FAILED};
inline constexpr VmEnd kQemuKilled = {v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_QEMU_KILLED};
inline constexpr VmEnd kQemuCrashed = {v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_QEMU_CRASHED};
inline constexpr VmEnd kGuestPanic = {v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_GUEST_PANIC};
inline constexpr VmEnd kOutOfMemory = {v1::SHUTDOWN_CLASS_CRASH, v1::SHUTDOWN_CAUSE_OUT_OF_MEMORY};
inline constexpr VmEnd kNeverRan = {v1::SHUTDOWN_CLASS_UNKNOWN, v1::SHUTDOWN_CAUSE_NEVER_RAN};
inline constexpr VmEnd kUnobserved = {v1::SHUTDOWN_CLASS_UNKNOWN, v1::SHUTDOWN_CAUSE_UNOBSERVED};

void ExpectEnd(const v1::Event& stopped, const VmEnd& end);
// The texts of its evidence.
std::vector<std::string> EvidenceOf(const v1::Event& stopped);

}  // namespace vmeventd::e2e
