#pragma once

#include <initializer_list>

#include "vmeventd/contract/enums.h"

namespace vmeventd::simulation {

// A way in which the world ends a VM, and its class by docs/answers.md. The judge compares the
// daemon's verdict with this truth. A step sets it when it ends a VM, from what the world did.
struct Ending {
  // The means by which the daemon can see the ending.
  enum class By {
    kWord,     // QEMU reports it, by an event or its run state
    kProcess,  // by how the process ended, and who killed it
  };
  const char* what;
  By by;
  ShutdownClass truth;
  // Its cause. The further ones are accepted if something was not reported. Empty: any cause.
  std::initializer_list<ShutdownCause> causes;
};

namespace endings {

using enum ShutdownCause;
using enum Ending::By;
using ShutdownClass::kAdmin, ShutdownClass::kCrash, ShutdownClass::kUnknown, ShutdownClass::kUser;

inline constexpr Ending kGuestPowersOff{
    "the guest powers off", kWord, kUser, {kGuestPoweroff, kGuestRequest}};
inline constexpr Ending kGuestObeysPress{
    "the guest powers off after a press", kWord, kAdmin, {kHostPowerdown}};
inline constexpr Ending kGuestHibernates{
    "the guest hibernates", kWord, kUser, {kGuestHibernate, kGuestPoweroff, kGuestRequest}};
inline constexpr Ending kGuestReboots{
    "the guest reboots under -no-reboot", kWord, kUser, {kGuestRebootExit, kGuestRequest}};
// A QEMU before 4.0 reports a reboot in the same way as a poweroff, so the press of the button
// counts.
inline constexpr Ending kGuestRebootsAfterPress{
    "the guest reboots after a press, and this QEMU does not say that it reboots",
    kWord,
    kAdmin,
    {kHostPowerdown}};
inline constexpr Ending kGuestExits{
    "the guest ends QEMU by its debug device", kProcess, kUser, {kGuestRequest}};
inline constexpr Ending kQuit{"quit", kWord, kAdmin, {kHostQuit, kHostRequest}};
inline constexpr Ending kWindowClosed{"window closed", kWord, kAdmin, {kHostUi, kHostRequest}};
inline constexpr Ending kSystemReset{
    "system_reset under -no-reboot", kWord, kAdmin, {kHostResetExit, kHostRequest}};
inline constexpr Ending kSignal{
    "a signal of the host's", kWord, kAdmin, {kHostSignal, kHostRequest}};
inline constexpr Ending kEarlySignal{"SIGTERM while it starts", kProcess, kAdmin, {kHostSignal}};
inline constexpr Ending kKilledByHost{"SIGKILL of the host's", kProcess, kAdmin, {kHostKill}};
inline constexpr Ending kEndedByHost{"SIGQUIT of the host's", kProcess, kAdmin, {kHostKill}};
inline constexpr Ending kDebuggerKills{
    "a debugger ends it while it is paused", kProcess, kAdmin, {kHostRequest}};
inline constexpr Ending kHostShutsDown{
    "the host shuts down", kWord, kAdmin, {kHostShutdown, kHostSignal, kHostRequest}};
inline constexpr Ending kKilledAsHostShutsDown{
    "the host shuts down, and kills it", kProcess, kAdmin, {kHostShutdown, kHostKill}};
inline constexpr Ending kMigrated{
    "migrated away", kWord, kAdmin, {kMigratedAway, kHostQuit, kHostRequest}};
// Nobody on this node knows whether its last pages had arrived, so vmeventd reports UNKNOWN.
inline constexpr Ending kKilledInMigration{
    "SIGKILL while a migration finishes", kProcess, kAdmin, {kHostKill}};
inline constexpr Ending kGuestPanics{"the guest panics", kWord, kCrash, {kGuestPanic}};
inline constexpr Ending kWatchdogExpires{"watchdog", kWord, kCrash, {kWatchdog}};
// The watchdog presses the power button, and the guest shuts down.
inline constexpr Ending kWatchdogPresses{"watchdog, shutdown", kWord, kCrash, {kWatchdog}};
inline constexpr Ending kInternalError{"internal error", kWord, kCrash, {kHostError}};
inline constexpr Ending kHostFails{"host error", kWord, kCrash, {kHostError}};
inline constexpr Ending kCrashes{"QEMU crashes", kProcess, kCrash, {kQemuCrashed}};
inline constexpr Ending kKillsItself{"SIGKILL of its own", kProcess, kCrash, {kQemuKilled}};
inline constexpr Ending kKilledByKernel{"SIGKILL of the kernel's", kProcess, kCrash, {kQemuKilled}};
inline constexpr Ending kRunsOutOfMemory{
    "out of memory", kProcess, kCrash, {kOutOfMemory, kQemuKilled}};
inline constexpr Ending kKilledForMemory{
    "SIGKILL of a memory killer", kProcess, kCrash, {kOutOfMemory}};
inline constexpr Ending kExitsSilently{"QEMU goes without a word", kProcess, kUnknown, {}};
inline constexpr Ending kHostGoesDown{"the host goes down", kProcess, kUnknown, {}};
// Endings of a domain of libvirt.
inline constexpr Ending kIncomingFails{
    "an incoming migration fails", kProcess, kAdmin, {kMigrationFailed}};
inline constexpr Ending kDomainMigrates{"a domain migrates", kProcess, kAdmin, {kMigratedAway}};
inline constexpr Ending kDomainKilledInMigration{
    "SIGKILL while a domain migrates", kProcess, kAdmin, {kHostKill}};
inline constexpr Ending kDomainDestroyed{
    "a domain is destroyed", kWord, kAdmin, {kHostDestroy, kHostSignal, kHostRequest}};
inline constexpr Ending kHangingDomainDestroyed{
    "a domain that hangs is destroyed", kProcess, kAdmin, {kHostDestroy, kHostKill}};
inline constexpr Ending kDomainSaved{
    "a domain is saved", kProcess, kAdmin, {kHostSave, kMigratedAway}};
// libvirt reports a crash of the guest in the same way.
inline constexpr Ending kDomainDumped{"a domain is dumped and ended", kProcess, kUnknown, {}};

}  // namespace endings

}  // namespace vmeventd::simulation
