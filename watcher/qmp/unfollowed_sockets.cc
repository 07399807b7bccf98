#include "watcher/qmp/unfollowed_sockets.h"

#include <utility>

#include "watcher/core/foreign_text.h"
#include "watcher/core/proto_time.h"
#include "watcher/core/unfollowed_limit.h"

namespace vmeventd {

void UnfollowedSockets::Add(const std::string& path, absl::string_view raw_name,
                            const Problem& problem, absl::Time now) {
  const MutexLock lock(&mutex_);
  v1::UnfollowedSocket& listed = by_path_[path];
  listed.set_path(EscapeNonUtf8(path));
  listed.set_name(EscapeName(raw_name));
  *listed.mutable_problem() = ToProto(problem);
  if (!listed.has_since()) *listed.mutable_since() = ToTimestamp(now);
}

void UnfollowedSockets::Remove(const std::string& path) {
  const MutexLock lock(&mutex_);
  by_path_.erase(path);
}

std::vector<int64_t> UnfollowedSockets::SetHidden(std::map<int64_t, v1::UnfollowedSocket> hidden) {
  std::vector<int64_t> added;
  const MutexLock lock(&mutex_);
  for (auto& [pid, listed] : hidden) {
    if (const auto known = hidden_.find(pid); known != hidden_.end()) {
      *listed.mutable_since() = known->second.since();
    } else {
      added.push_back(pid);
    }
  }
  hidden_ = std::move(hidden);
  return added;
}

void UnfollowedSockets::Describe(v1::GetServerInfoResponse* info) const {
  const MutexLock lock(&mutex_);
  for (const auto& [path, socket] : by_path_) {
    if (info->unfollowed_sockets_size() < kMaxUnfollowed) *info->add_unfollowed_sockets() = socket;
  }
  for (const auto& [pid, socket] : hidden_) {
    if (info->unfollowed_sockets_size() < kMaxUnfollowed) *info->add_unfollowed_sockets() = socket;
  }
}

}  // namespace vmeventd
