#pragma once

#include <csignal>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/support/daemon.h"
#include "tests/support/event_stream.h"
#include "tests/support/files.h"
#include "tests/support/guest.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd::e2e {

// Who ended a VM, and how.
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

// A watched directory and everything that a daemon needs, in one temporary directory. Prints the
// daemon's log if a test failed.
class E2eTest : public testing::Test {
 protected:
  // False: the daemon publishes every event of a VM.
  void LimitEvents(bool limit) { event_limits_ = limit; }

  E2eTest();
  ~E2eTest() override;

  // The daemon's options for `watch_dir()`, with more arguments.
  DaemonOptions Options(const std::vector<std::string>& arguments = {}) const;
  void StartDaemon() { StartDaemon(Options()); }
  void StartDaemon(const DaemonOptions& options);
  // Opens a stream from the oldest event on, and records at each STOPPED whether the shutdown file
  // existed.
  void OpenStream();
  // Both.
  void StartDaemonAndStream() { StartDaemonAndStream(Options()); }
  void StartDaemonAndStream(const DaemonOptions& options);

  std::string watch_dir() const { return dir_ / "ctrl"; }
  const TemporaryDirectory& dir() const { return dir_; }
  Daemon& daemon() { return *daemon_; }
  void StopDaemon() { daemon_.reset(); }
  // Ends the daemon by a signal; its wait status.
  int EndDaemon(int signal);
  // How many descriptors the daemon has open.
  size_t CountDescriptors();
  // The address that the daemon chose for an argument "--listen 127.0.0.1:0".
  std::string LoopbackAddress();
  EventStream& stream() { return *stream_; }
  // Waits until the journal's newest event is at least this one.
  void WaitNewest(uint64_t sequence);

  std::unique_ptr<Guest> StartGuest(GuestOptions options = {}) const;
  // A guest without memory and processor: enough if the guest does not matter.
  std::unique_ptr<Guest> StartEmptyGuest(const std::string& name) const;
  // Waits for the STARTED of a VM, and until it is attached; for its STOPPED.
  v1::Event WaitFollowed(const std::string& name);
  v1::Event WaitStopped(const std::string& name = "vm1", int nth = 1);
  // Waits for the STOPPED in the same way, and expects this end.
  v1::Event ExpectStopped(const VmEnd& end, const std::string& name = "vm1", int nth = 1);
  v1::Intent DeclareIntent(const std::string& name);
  // Whether NAME.shutdown existed when NAME's STOPPED arrived.
  bool FileAtStop(const std::string& name);

 private:
  const TemporaryDirectory dir_;
  bool event_limits_ = true;
  std::unique_ptr<Daemon> daemon_;
  std::mutex mutex_;
  std::map<std::string, bool> file_at_stop_;  // guarded by mutex_
  std::unique_ptr<EventStream> stream_;
};

// Name the tests of a suite: after the `name` of their parameter; after the signal that it is.
inline constexpr auto kByName = [](const auto& test) { return test.param.name; };
inline constexpr auto kBySignal = [](const testing::TestParamInfo<int>& test) {
  return std::string(test.param == SIGKILL ? "Kill" : "Term");
};

v1::WatchEventsRequest FromOldest();

// The command line of vmevents for a server.
std::vector<std::string> VmeventsCommand(const std::string& server,
                                         const std::vector<std::string>& arguments);

// Waits until the daemon has no command under way: QEMU 7.2 may hang if it is ended over one
// (docs/internals/qemu.md).
void WaitUntilAttached(Daemon& daemon, const std::string& name);

// Waits until the daemon has seen that the VM was migrated away, which its log says. QEMU's own
// `completed` is too early: a QEMU that is ended at once may not have answered the daemon yet.
void WaitUntilMigratedAway(const Daemon& daemon, const std::string& name);

}  // namespace vmeventd::e2e
