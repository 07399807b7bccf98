#pragma once

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "tests/system/crash/history.h"

namespace vmeventd::crash {

// The events that clients have received so far, for the harness to wait on. Any thread.
class Sightings {
 public:
  void Add(const v1::Event& event) {
    const std::lock_guard<std::mutex> lock(mutex_);
    Seen& seen = seen_[{event.vm().name(), event.vm().pid()}];
    if (event.type() == v1::EVENT_TYPE_STARTED) seen.started = true;
    if (event.type() == v1::EVENT_TYPE_STOPPED) seen.stopped = true;
    changed_.notify_all();
  }

  bool Started(const RunHistory& run) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return Of(run).started;
  }

  // False: it did not arrive within `patience`.
  bool WaitStopped(const RunHistory& run, absl::Duration patience) const {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, absl::ToChronoNanoseconds(patience),
                             [&] { return Of(run).stopped; });
  }

 private:
  struct Seen {
    bool started = false;
    bool stopped = false;
  };
  Seen Of(const RunHistory& run) const {
    const auto found = seen_.find({run.name, run.pid});
    return found == seen_.end() ? Seen() : found->second;
  }

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::map<std::pair<std::string, int64_t>, Seen> seen_;  // guarded by mutex_
};

}  // namespace vmeventd::crash
