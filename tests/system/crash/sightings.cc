#include "tests/system/crash/sightings.h"

#include <algorithm>
#include <chrono>

namespace vmeventd::crash {

void Sightings::Add(const v1::Event& event) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Seen& seen = seen_[{event.vm().name(), event.vm().pid()}];
  switch (event.type()) {
    case v1::EVENT_TYPE_STARTED:
      seen.started = true;
      break;
    case v1::EVENT_TYPE_STOPPED:
      seen.stopped = true;
      break;
    case v1::EVENT_TYPE_PAUSED:
    case v1::EVENT_TYPE_RESUMED:
    case v1::EVENT_TYPE_POWERDOWN_REQUESTED:
      if (event.state() == v1::VM_STATE_UNREACHABLE) return;  // in the handshake: no run state yet
      seen.heard_of =
          std::max(seen.heard_of, absl::FromUnixSeconds(event.observe_time().seconds()) +
                                      absl::Nanoseconds(event.observe_time().nanos()));
      break;
    default:
      return;
  }
  changed_.notify_all();
}

Sightings::Seen Sightings::Of(const std::string& name, int64_t pid) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto found = seen_.find({name, pid});
  return found == seen_.end() ? Seen() : found->second;
}

bool Sightings::WaitStopped(const std::string& name, int64_t pid, absl::Duration patience) const {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, absl::ToChronoNanoseconds(patience), [&] {
    const auto found = seen_.find({name, pid});
    return found != seen_.end() && found->second.stopped;
  });
}

}  // namespace vmeventd::crash
