#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "watcher/core/problem.h"

namespace vmeventd {

// The sockets and the QEMUs that are not followed, as GetServerInfo lists them. Any thread.
class UnfollowedSockets {
 public:
  // Lists the socket at `path`, which is named after the VM `raw_name`, with `problem`; both are
  // raw bytes. If it is listed already, this replaces its problem; the time since when it is listed
  // stays.
  void Add(const std::string& path, absl::string_view raw_name, const Problem& problem,
           absl::Time now);
  void Remove(const std::string& path);

  // Replaces the listed QEMUs (by pid) whose path leads to another QEMU. For those that were listed
  // already, the time since when they are listed stays. Returns the pids of the new ones.
  std::vector<int64_t> SetHidden(std::map<int64_t, v1::UnfollowedSocket> hidden);

  // Adds the sockets, by path, and then the QEMUs, by pid: at most kMaxUnfollowed in all.
  void Describe(v1::GetServerInfoResponse* info) const;

 private:
  mutable Mutex mutex_;
  std::map<std::string, v1::UnfollowedSocket> by_path_ ABSL_GUARDED_BY(mutex_);
  std::map<int64_t, v1::UnfollowedSocket> hidden_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace vmeventd
