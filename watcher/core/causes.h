#pragma once

#include <algorithm>
#include <iterator>

#include "absl/strings/string_view.h"
#include "vmeventd/contract/enums.h"

// Traits of each cause: its sentence, who ended the VM, and whether it may still run. Pure.

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
  absl::string_view sentence;  // for people: "the guest powered itself off"
  Ender ender = Ender::kOfClass;
  // The sender of a signal, if there is one, ended the VM, and texts name it. False: a signal only
  // followed the cause.
  bool by_sender = false;
  // The message of STOPPED begins with that sender's command, where it has one, or with "QEMU".
  bool begins_with_sender = false;
  // The VM may run elsewhere after such an end: it was migrated, may have been migrated, or never
  // ran here.
  bool may_still_run = false;
  // A start failed: QEMU's last words explain it, whatever the class. Those of a CRASH and of an
  // UNKNOWN end always count.
  bool failed_start = false;
};

inline constexpr CauseTraits ByTheSender(ShutdownCause cause, absl::string_view sentence,
                                         Ender ender = Ender::kOfClass) {
  return {.cause = cause, .sentence = sentence, .ender = ender, .by_sender = true};
}
inline constexpr CauseTraits BeginsWithSender(CauseTraits traits) {
  traits.begins_with_sender = true;
  return traits;
}
inline constexpr CauseTraits MayStillRun(ShutdownCause cause, absl::string_view sentence) {
  return {.cause = cause, .sentence = sentence, .may_still_run = true};
}
inline constexpr CauseTraits FailedStart(ShutdownCause cause, absl::string_view sentence) {
  return {.cause = cause, .sentence = sentence, .may_still_run = true, .failed_start = true};
}

namespace causes {

using enum ShutdownCause;

// Every cause, in the order of the contract.
inline constexpr CauseTraits kTable[] = {
    {kGuestPoweroff, "the guest powered itself off"},
    {kGuestRebootExit,
     "the guest rebooted, and QEMU runs with -no-reboot: its manager may start it again"},
    {kGuestHibernate, "the guest hibernated (suspend to disk)"},
    {kHostPowerdown, "the host pressed the power button and the guest obeyed"},
    {kHostQuit, "the host sent QEMU a quit command"},
    BeginsWithSender(ByTheSender(kHostSignal, "the host sent QEMU a SIGTERM, SIGINT or SIGHUP")),
    {kHostUi, "QEMU's window was closed on the host"},
    {kHostResetExit, "the host reset the VM, and QEMU runs with -no-reboot"},
    MayStillRun(kMigratedAway, "the VM was migrated away, or its memory saved to a file"),
    {kGuestPanic, "the guest's kernel panicked", Ender::kGuest},
    {kWatchdog, "the guest stopped feeding its watchdog", Ender::kGuest},
    {kHostError, "QEMU reported an error of the host"},
    BeginsWithSender(ByTheSender(
        kQemuKilled, "QEMU was killed (SIGKILL) by the kernel, by itself or by what it started")),
    BeginsWithSender({kQemuCrashed, "QEMU crashed, or exited with an error", Ender::kQemu}),
    ByTheSender(kOutOfMemory, "QEMU was killed because memory ran out"),
    {kProcessExited, "QEMU ended without reporting why"},
    {kUnobserved, "what ended it is not known"},
    {kHostRequest, "the host ended it; this QEMU does not report how"},
    {kGuestRequest, "the guest ended the VM; it is not known how"},
    ByTheSender(kHostDestroy, "the host destroyed the VM through its manager", Ender::kManager),
    {kHostSave, "the host saved the VM's memory to a file and ended QEMU", Ender::kManager},
    FailedStart(kMigrationFailed,
                "an incoming migration or a restore failed before the VM ran here"),
    FailedStart(kNeverRan, "QEMU ended before its VM was seen running"),
    MayStillRun(kMigrationUnfinished,
                "QEMU ended while it finished a migration: the VM may live on elsewhere"),
    BeginsWithSender(ByTheSender(kHostKill, "a process of the host killed QEMU")),
    ByTheSender(kHostShutdown, "the VM ended because its host shut down"),
};
static_assert(std::size(kTable) == static_cast<int>(kLastShutdownCause));
static_assert(std::none_of(std::begin(kTable), std::end(kTable),
                           [](const CauseTraits& traits) { return traits.sentence.empty(); }));

}  // namespace causes

// Returns the traits of a cause. For an unknown cause, such as one of a later version, they are
// those of kUnspecified, without a sentence.
constexpr CauseTraits TraitsOf(ShutdownCause cause) {
  for (const CauseTraits& traits : causes::kTable) {
    if (traits.cause == cause) return traits;
  }
  return {ShutdownCause::kUnspecified, ""};
}

}  // namespace vmeventd
