#pragma once

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
#include "tests/system/vm_end.h"

namespace vmeventd::e2e {

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
  // Starts the daemon, and opens the stream.
  void StartDaemonAndStream() { StartDaemonAndStream(Options()); }
  void StartDaemonAndStream(const DaemonOptions& options);

  std::string watch_dir() const { return dir_ / "ctrl"; }
  const TemporaryDirectory& dir() const { return dir_; }
  Daemon& daemon() { return *daemon_; }
  void StopDaemon() { daemon_.reset(); }
  // Ends the daemon by a signal; its wait status.
  int EndDaemon(int signal);
  // The number of descriptors that the daemon has open.
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
  // Returns whether NAME.shutdown existed when NAME's STOPPED arrived.
  bool FileAtStop(const std::string& name);

 private:
  const TemporaryDirectory dir_;
  bool event_limits_ = true;
  std::unique_ptr<Daemon> daemon_;
  std::mutex mutex_;
  std::map<std::string, bool> file_at_stop_;  // guarded by mutex_
  std::unique_ptr<EventStream> stream_;
};

}  // namespace vmeventd::e2e
