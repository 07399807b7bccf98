#pragma once

#include <iterator>

#include "vmeventd/contract/enums.h"

// Who ends a VM with which cause: for counts by who ended it, and for texts. Pure.

namespace vmeventd {

// Who ended a VM if neither an intent nor the sender of a signal shows it.
enum class Ender {
  kOfClass,  // follows from the class
  kGuest,
  kQemu,
  kManager,
};

struct CauseTraits {
  ShutdownCause cause;
  Ender ender = Ender::kOfClass;
  // The end is the act of the sender of a signal, if there is one, and texts name it. With other
  // causes a signal only followed.
  bool by_sender = false;
};

// Every cause, in the order of the contract.
inline constexpr CauseTraits kCauseTraits[] = {
    {ShutdownCause::kGuestPoweroff},
    {ShutdownCause::kGuestRebootExit},
    {ShutdownCause::kGuestHibernate},
    {ShutdownCause::kHostPowerdown},
    {ShutdownCause::kHostQuit},
    {ShutdownCause::kHostSignal, Ender::kOfClass, true},
    {ShutdownCause::kHostUi},
    {ShutdownCause::kHostResetExit},
    {ShutdownCause::kMigratedAway},
    {ShutdownCause::kGuestPanic, Ender::kGuest},
    {ShutdownCause::kWatchdog, Ender::kGuest},
    {ShutdownCause::kHostError},
    {ShutdownCause::kQemuKilled, Ender::kOfClass, true},
    {ShutdownCause::kQemuCrashed, Ender::kQemu},
    {ShutdownCause::kOutOfMemory, Ender::kOfClass, true},
    {ShutdownCause::kProcessExited},
    {ShutdownCause::kUnobserved},
    {ShutdownCause::kHostRequest},
    {ShutdownCause::kGuestRequest},
    {ShutdownCause::kHostDestroy, Ender::kManager, true},
    {ShutdownCause::kHostSave, Ender::kManager},
    {ShutdownCause::kMigrationFailed},
    {ShutdownCause::kNeverRan},
    {ShutdownCause::kMigrationUnfinished},
    {ShutdownCause::kHostKill, Ender::kOfClass, true},
    {ShutdownCause::kHostShutdown, Ender::kOfClass, true},
};
static_assert(std::size(kCauseTraits) == static_cast<int>(kLastShutdownCause));

// The traits of the contract's number of a cause; without any for one that is not known.
constexpr CauseTraits TraitsOf(int cause) {
  for (const CauseTraits& traits : kCauseTraits) {
    if (static_cast<int>(traits.cause) == cause) return traits;
  }
  return {ShutdownCause::kUnspecified};
}

}  // namespace vmeventd
