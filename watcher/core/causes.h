#pragma once

#include <iterator>

#include "vmeventd/contract/enums.h"

// Traits of each cause: who ended the VM, and whether it may still run. Pure.

namespace vmeventd {

// The party that ended a VM, if neither an intent nor the sender of a signal shows it.
enum class Ender {
  kOfClass,  // follows from the class
  kGuest,
  kQemu,
  kManager,
};

struct CauseTraits {
  ShutdownCause cause;
  Ender ender = Ender::kOfClass;
  // The sender of a signal, if there is one, ended the VM, and texts name it. False: a signal only
  // followed the cause.
  bool by_sender = false;
  // The VM may run elsewhere after such an end: it was migrated, may have been migrated, or never
  // ran here.
  bool may_still_run = false;
  // A start failed: QEMU's last words explain it, whatever the class. Those of a CRASH and of an
  // UNKNOWN end always count.
  bool failed_start = false;
};

inline constexpr CauseTraits ByTheSender(ShutdownCause cause, Ender ender = Ender::kOfClass) {
  return {.cause = cause, .ender = ender, .by_sender = true};
}
inline constexpr CauseTraits MayStillRun(ShutdownCause cause) {
  return {.cause = cause, .may_still_run = true};
}
inline constexpr CauseTraits FailedStart(ShutdownCause cause) {
  return {.cause = cause, .may_still_run = true, .failed_start = true};
}

// Every cause, in the order of the contract.
inline constexpr CauseTraits kCauseTraits[] = {
    {ShutdownCause::kGuestPoweroff},
    {ShutdownCause::kGuestRebootExit},
    {ShutdownCause::kGuestHibernate},
    {ShutdownCause::kHostPowerdown},
    {ShutdownCause::kHostQuit},
    ByTheSender(ShutdownCause::kHostSignal),
    {ShutdownCause::kHostUi},
    {ShutdownCause::kHostResetExit},
    MayStillRun(ShutdownCause::kMigratedAway),
    {ShutdownCause::kGuestPanic, Ender::kGuest},
    {ShutdownCause::kWatchdog, Ender::kGuest},
    {ShutdownCause::kHostError},
    ByTheSender(ShutdownCause::kQemuKilled),
    {ShutdownCause::kQemuCrashed, Ender::kQemu},
    ByTheSender(ShutdownCause::kOutOfMemory),
    {ShutdownCause::kProcessExited},
    {ShutdownCause::kUnobserved},
    {ShutdownCause::kHostRequest},
    {ShutdownCause::kGuestRequest},
    ByTheSender(ShutdownCause::kHostDestroy, Ender::kManager),
    {ShutdownCause::kHostSave, Ender::kManager},
    FailedStart(ShutdownCause::kMigrationFailed),
    FailedStart(ShutdownCause::kNeverRan),
    MayStillRun(ShutdownCause::kMigrationUnfinished),
    ByTheSender(ShutdownCause::kHostKill),
    ByTheSender(ShutdownCause::kHostShutdown),
};
static_assert(std::size(kCauseTraits) == static_cast<int>(kLastShutdownCause));

// Returns the traits of a cause; no traits for an unknown cause, such as one of a later version.
constexpr CauseTraits TraitsOf(ShutdownCause cause) {
  for (const CauseTraits& traits : kCauseTraits) {
    if (traits.cause == cause) return traits;
  }
  return {ShutdownCause::kUnspecified};
}

}  // namespace vmeventd
