#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "gtest/gtest.h"
#include "tests/support/daemon.h"
#include "tests/support/event_stream.h"
#include "tests/support/files.h"
#include "tests/support/guest.h"
#include "tests/support/temporary_directory.h"

namespace vmeventd::e2e {

// A watched directory and everything that a daemon needs, in one temporary directory. Prints the
// daemon's log if a test failed.
class E2eTest : public testing::Test {
 protected:
  // False: the daemon publishes every event of a VM.
  void LimitEvents(bool limit) { event_limits_ = limit; }

  E2eTest();
  ~E2eTest() override;

  // The daemon's options for `watch_dir()`.
  DaemonOptions Options() const;
  void StartDaemon() { StartDaemon(Options()); }
  void StartDaemon(const DaemonOptions& options);
  // Opens a stream from the oldest event on, and records at each STOPPED whether the shutdown file
  // existed.
  void OpenStream();
  // Both.
  void StartDaemonAndStream();

  std::string watch_dir() const { return dir_ / "ctrl"; }
  const TemporaryDirectory& dir() const { return dir_; }
  Daemon& daemon() { return *daemon_; }
  void StopDaemon() { daemon_.reset(); }
  // The address that the daemon chose for an argument "--listen 127.0.0.1:0", from its log.
  std::string LoopbackAddress() const;
  EventStream& stream() { return *stream_; }

  std::unique_ptr<Guest> StartGuest(GuestOptions options) const;
  // A guest without memory and processor: enough if the guest does not matter.
  std::unique_ptr<Guest> StartEmptyGuest(const std::string& name) const;

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

v1::WatchEventsRequest FromOldest();

// Waits until the daemon has no command under way, which its log says: QEMU 7.2 may hang if it is
// ended over one (docs/qemu.md). `times`: how often the VM was attached, over restarts.
void WaitUntilAttached(const Daemon& daemon, const std::string& name, int times = 1);

// Waits until the daemon has seen that the VM was migrated away, which its log says. QEMU's own
// `completed` is too early: a QEMU that is ended at once may not have answered the daemon yet.
void WaitUntilMigratedAway(const Daemon& daemon, const std::string& name);

}  // namespace vmeventd::e2e
