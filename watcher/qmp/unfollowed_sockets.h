#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"

namespace vmeventd {

// A socket in a watched directory behind which no run is followed, and why. Text is UTF-8.
struct UnfollowedSocket {
  std::string path;
  std::string name;  // name that a VM there would have
  std::string problem;
  absl::Time since;
};

// The unfollowed sockets, by the raw bytes of their paths. Any thread.
class UnfollowedSockets {
 public:
  // Adds or replaces a socket; one that is listed already keeps its `since`.
  void Set(const std::string& raw_path, UnfollowedSocket socket) {
    const MutexLock lock(&mutex_);
    const auto [it, added] = sockets_.try_emplace(raw_path);
    if (!added) socket.since = it->second.since;
    it->second = std::move(socket);
  }
  void Remove(const std::string& raw_path) {
    const MutexLock lock(&mutex_);
    sockets_.erase(raw_path);
  }
  // Returns the first kMaxListed.
  std::vector<UnfollowedSocket> List() const {
    constexpr size_t kMaxListed = 1000;
    std::vector<UnfollowedSocket> sockets;
    const MutexLock lock(&mutex_);
    for (const auto& [path, socket] : sockets_) {
      if (sockets.size() == kMaxListed) break;
      sockets.push_back(socket);
    }
    return sockets;
  }

 private:
  mutable Mutex mutex_;
  std::map<std::string, UnfollowedSocket> sockets_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmeventd
