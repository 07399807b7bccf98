#include "tests/system/crash/history.h"

#include <cstddef>

namespace vmeventd::crash {
namespace {

constexpr v1::ShutdownClass kNone = v1::SHUTDOWN_CLASS_UNSPECIFIED;
constexpr v1::ShutdownClass kUser = v1::SHUTDOWN_CLASS_USER;
constexpr v1::ShutdownClass kAdmin = v1::SHUTDOWN_CLASS_ADMIN;
constexpr v1::ShutdownClass kCrash = v1::SHUTDOWN_CLASS_CRASH;

// What a deed says of the end, if it is the first one to do so.
v1::ShutdownClass ClassOf(Deed deed, bool powerdown) {
  switch (deed) {
    case Deed::kGuestDown:
    case Deed::kGuestShutdown:
      return powerdown ? kAdmin : kUser;
    case Deed::kGuestReset:
      return kUser;
    case Deed::kQuit:
    case Deed::kSignal:
    case Deed::kHostReset:
      return kAdmin;
    case Deed::kPanic:
    case Deed::kPanicExit:
    case Deed::kWatchdog:
    case Deed::kDie:
      return kCrash;
    default:
      return kNone;
  }
}

}  // namespace

const char* DeedName(Deed deed) {
  static constexpr const char* kNames[] = {"powerdown", "reset",          "guest down",  "revive",
                                           "panic",     "guest shutdown", "guest reset", "quit",
                                           "signal",    "host reset",     "panic exit",  "watchdog",
                                           "die"};
  return kNames[static_cast<size_t>(deed)];
}

v1::ShutdownClass TrueClass(const RunHistory& run) {
  bool powerdown = false;
  v1::ShutdownClass decided = kNone;
  for (const Act& act : run.acts) {
    if (act.deed == Deed::kPowerdown) powerdown = true;
    if (act.deed == Deed::kReset || act.deed == Deed::kRevive) {
      powerdown = false;
      decided = kNone;
    }
    const v1::ShutdownClass says = ClassOf(act.deed, powerdown);
    const bool overrides =
        act.deed == Deed::kPanic || act.deed == Deed::kPanicExit || act.deed == Deed::kWatchdog;
    if (decided == kNone || overrides) decided = says;
  }
  return decided;
}

}  // namespace vmeventd::crash
