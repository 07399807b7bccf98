#include "watcher/runs/oom_watch.h"

#include <sys/epoll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/algorithm/container.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/system.h"
#include "watcher/runs/process_watch.h"

namespace vmeventd {
namespace {

constexpr size_t kMaxMountsBytes = 4 << 20;

// A path as mountinfo has it: spaces and the like as \040.
std::string Unescaped(absl::string_view path) {
  std::string plain;
  return absl::CUnescape(path, &plain) ? plain : std::string(path);
}

bool Lists(absl::string_view comma_separated, absl::string_view word) {
  return absl::c_linear_search(absl::StrSplit(comma_separated, ','), word);
}

}  // namespace

OomCounters::OomCounters(std::string root) : root_(std::move(root)) {
  const absl::StatusOr<std::string> mounts =
      ReadSmallFile(root_ + "/proc/self/mountinfo", kMaxMountsBytes);
  if (!mounts.ok()) return;
  // proc_pid_mountinfo(5): "ID PARENT DEVICE ROOT DIRECTORY OPTIONS ... - TYPE SOURCE OPTIONS".
  for (const absl::string_view line : absl::StrSplit(*mounts, '\n')) {
    const std::pair<absl::string_view, absl::string_view> halves = absl::StrSplit(line, " - ");
    const std::vector<absl::string_view> where = absl::StrSplit(halves.first, ' ');
    const std::vector<absl::string_view> what = absl::StrSplit(halves.second, ' ');
    if (where.size() < 5 || what.size() < 3) continue;
    const Mount mount{Unescaped(where[3]), Unescaped(where[4])};
    if (what[0] == "cgroup2" && !v2_.has_value()) v2_ = mount;
    if (what[0] == "cgroup" && Lists(what[2], "memory") && !v1_memory_.has_value()) {
      v1_memory_ = mount;
    }
  }
}

std::optional<OomCounters::Count> OomCounters::Find(int64_t pid) const {
  const absl::StatusOr<std::string> cgroups =
      ReadSmallFile(absl::StrCat(root_, "/proc/", pid, "/cgroup"));
  if (!cgroups.ok()) return std::nullopt;
  std::optional<std::string> v1;
  std::optional<std::string> v2;
  // cgroups(7): "ID:CONTROLLERS:PATH", with "0::PATH" for v2.
  for (const absl::string_view line : absl::StrSplit(*cgroups, '\n')) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() < 3) continue;
    if (Lists(parts[1], "memory")) v1 = DirectoryOf(v1_memory_, parts[2]);
    if (parts[0] == "0" && parts[1].empty()) v2 = DirectoryOf(v2_, parts[2]);
  }
  if (v1.has_value()) {
    std::string file = *v1 + "/memory.oom_control";
    if (const auto kills = Read(file); kills.ok()) return Count{std::move(file), *kills};
  }
  if (!v2.has_value()) return std::nullopt;
  // A cgroup without a memory controller of its own (a threaded one, or one below a parent that
  // does not hand it on) is counted in the next one above that has it.
  for (std::string directory = *v2; directory.size() >= v2_->directory.size();
       directory.resize(directory.rfind('/'))) {
    std::string file = directory + "/memory.events";
    if (const auto kills = Read(file); kills.ok()) return Count{std::move(file), *kills};
  }
  return std::nullopt;
}

absl::StatusOr<uint64_t> OomCounters::Read(const std::string& file) const {
  const absl::StatusOr<std::string> text = ReadSmallFile(root_ + file);
  if (!text.ok()) return text.status();
  uint64_t kills = 0;
  if (absl::SimpleAtoi(ValueInLine(*text, "oom_kill "), &kills)) return kills;
  return absl::NotFoundError(absl::StrCat(file, " counts no OOM kills"));
}

std::optional<std::string> OomCounters::DirectoryOf(const std::optional<Mount>& mount,
                                                    const std::string& cgroup) {
  if (!mount.has_value() || !absl::StartsWith(cgroup, "/")) return std::nullopt;
  // Outside of this process's own cgroup namespace.
  if (absl::StrContains(cgroup, "/..")) return std::nullopt;
  absl::string_view below = cgroup;
  if (mount->root != "/" && !absl::ConsumePrefix(&below, mount->root)) return std::nullopt;
  if (!below.empty() && below.front() != '/') return std::nullopt;
  return absl::StrCat(mount->directory, absl::StripSuffix(below, "/"));
}

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

void OomWatch::Follow(const std::string& file, ProcessWatch* user) {
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

void OomWatch::Unfollow(const std::string& file, ProcessWatch* user) {
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
      for (const auto& [watch, path] : paths_) OnChange(path);
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
  for (ProcessWatch* user : it->second.users) user->OnOomCountChanged();
}

void OomWatch::ArmPoll() {
  if (poll_.serial != 0) return;
  loop_->SetTimerIn(&poll_, kPoll, [this] {
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
