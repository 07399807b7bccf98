#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::crash {

// What clients have received so far, for the harness to wait on. Any thread.
class Sightings {
 public:
  void Add(const v1::Event& event);

  struct Seen {
    bool started = false;
    bool stopped = false;
    // When the daemon last observed something that came through the VM's monitor and knew its run
    // state. An end in the handshake, before QEMU has said one, is UNKNOWN.
    absl::Time heard_of = absl::InfinitePast();
  };
  Seen Of(const std::string& name, int64_t pid) const;

  // False: it did not arrive within `patience`.
  bool WaitStopped(const std::string& name, int64_t pid, absl::Duration patience) const;

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::map<std::pair<std::string, int64_t>, Seen> seen_;  // guarded by mutex_
};

}  // namespace vmeventd::crash
