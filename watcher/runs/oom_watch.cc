#include "watcher/runs/oom_watch.h"

#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"

namespace vmeventd {

absl::StatusOr<std::unique_ptr<OomWatch>> OomWatch::Create(EventLoop* loop, std::string root) {
  UniqueFd inotify(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify.valid()) {
    return absl::ErrnoToStatus(
        errno, "cannot create an inotify instance (see fs.inotify.max_user_instances)");
  }
  const int fd = inotify.get();
  std::unique_ptr<OomWatch> watch(new OomWatch(loop, std::move(inotify), std::move(root)));
  if (absl::Status status = loop->Add(fd, EPOLLIN, watch.get()); !status.ok()) return status;
  return watch;
}

OomWatch::~OomWatch() {
  loop_->CancelTimer(&poll_);
  for (auto& [path, file] : files_) loop_->CancelTimer(&file.check);
  loop_->Remove(inotify_.get());
}

void OomWatch::Follow(const std::string& file, User* user) {
  const auto [it, added] = files_.try_emplace(file);
  it->second.users.push_back(user);
  if (!added) return;
  // memory.oom_control, of cgroup v1, changes without an event.
  if (!absl::EndsWith(file, "/memory.oom_control")) {
    it->second.watch = inotify_add_watch(inotify_.get(), (root_ + file).c_str(), IN_MODIFY);
  }
  if (it->second.watch >= 0) {
    paths_[it->second.watch] = file;
  } else {
    ArmPoll();
  }
}

void OomWatch::Unfollow(const std::string& file, User* user) {
  const auto it = files_.find(file);
  if (it == files_.end()) return;
  std::erase(it->second.users, user);
  if (!it->second.users.empty()) return;
  loop_->CancelTimer(&it->second.check);
  if (it->second.watch >= 0) {
    paths_.erase(it->second.watch);
    inotify_rm_watch(inotify_.get(), it->second.watch);  // EINVAL: the cgroup is gone
  }
  files_.erase(it);
}

void OomWatch::OnFdReady(uint32_t) {
  constexpr size_t kReadBytes = 16 << 10;
  alignas(inotify_event) std::array<char, kReadBytes> buffer;
  const ssize_t size = read(inotify_.get(), buffer.data(), buffer.size());
  for (ssize_t at = 0; at + static_cast<ssize_t>(sizeof(inotify_event)) <= size;) {
    inotify_event event{};
    std::memcpy(&event, buffer.data() + at, sizeof(event));
    at += static_cast<ssize_t>(sizeof(event) + event.len);
    if (event.mask & IN_Q_OVERFLOW) {
      std::vector<std::string> all;
      for (const auto& [watch, path] : paths_) all.push_back(path);
      for (const std::string& path : all) OnChange(path);
      continue;
    }
    const auto path = paths_.find(event.wd);
    if (path == paths_.end()) continue;
    if (event.mask & IN_IGNORED) {  // the cgroup is gone
      files_[path->second].watch = -1;
      paths_.erase(path);
    } else {
      OnChange(path->second);
    }
  }
}

void OomWatch::OnChange(const std::string& path) {
  File& file = files_[path];
  if (file.check.serial != 0) return;
  const absl::Duration due = std::max(loop_->Now().monotonic + kSettle, file.checked + kInterval);
  file.check = loop_->AddTimer(due, [this, path] { Check(path); });
}

void OomWatch::Check(const std::string& path) {
  const auto it = files_.find(path);
  if (it == files_.end()) return;
  it->second.check = {};
  it->second.checked = loop_->Now().monotonic;
  for (User* user : it->second.users) user->OnOomCountChanged();
}

void OomWatch::ArmPoll() {
  if (poll_.serial != 0) return;
  poll_ = loop_->AddTimer(loop_->Now().monotonic + kPoll, [this] {
    poll_ = {};
    bool any = false;
    for (const auto& [path, file] : files_) {
      if (file.watch >= 0) continue;
      any = true;
      OnChange(path);
    }
    if (any) ArmPoll();
  });
}

}  // namespace vmeventd
