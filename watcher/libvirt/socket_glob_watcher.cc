#include "watcher/libvirt/socket_glob_watcher.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "spdlog/spdlog.h"
#include "watcher/core/libvirt_spec.h"

namespace vmeventd {
namespace {

constexpr uint32_t kMask = IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR;
constexpr absl::Duration kRescanInterval = absl::Seconds(5);
constexpr size_t kReadBytes = 64 << 10;

std::string Join(const std::string& directory, const std::string& name) {
  return absl::StrCat(directory == "/" ? "" : directory, "/", name);
}

bool IsBelow(const std::string& path, const std::string& directory) {
  return path == directory || absl::StartsWith(path, directory == "/" ? "/" : directory + "/");
}

// What a shell's pattern leaves out.
bool IsHidden(const std::string& name) { return absl::StartsWith(name, "."); }

}  // namespace

absl::StatusOr<std::unique_ptr<SocketGlobWatcher>> SocketGlobWatcher::Create(
    EventLoop* loop, const std::vector<std::string>& patterns, Delegate* delegate) {
  UniqueFd inotify(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify.valid()) return absl::ErrnoToStatus(errno, "inotify_init1");
  const int fd = inotify.get();
  std::unique_ptr<SocketGlobWatcher> watcher(
      new SocketGlobWatcher(loop, patterns, delegate, std::move(inotify)));
  if (absl::Status status = loop->Add(fd, EPOLLIN, watcher.get()); !status.ok()) return status;
  return watcher;
}

SocketGlobWatcher::SocketGlobWatcher(EventLoop* loop, const std::vector<std::string>& patterns,
                                     Delegate* delegate, UniqueFd inotify)
    : loop_(loop), delegate_(delegate), inotify_(std::move(inotify)) {
  for (const std::string& pattern : patterns) {
    std::vector<Part>& parts = patterns_.emplace_back();
    for (const absl::string_view part : absl::StrSplit(pattern, '/', absl::SkipEmpty())) {
      const bool wild = HasWildcard(part);
      const bool below_wild = wild || (!parts.empty() && parts.back().below_wild);
      parts.push_back({std::string(part), wild, below_wild, Glob(part)});
    }
  }
}

SocketGlobWatcher::~SocketGlobWatcher() {
  loop_->CancelTimer(&rescan_);
  loop_->Remove(inotify_.get());
}

void SocketGlobWatcher::Start() {
  for (size_t spec = 0; spec < patterns_.size(); ++spec) {
    if (!patterns_[spec].empty()) Enter("/", {static_cast<int>(spec), 0});
  }
}

void SocketGlobWatcher::Enter(const std::string& path, Place place) {
  if (!directories_.contains(path) && directories_.size() >= kMaxDirectories) {
    return RescanLater(absl::StrCat("more than ", kMaxDirectories, " directories match"));
  }
  const std::vector<Part>& parts = patterns_[static_cast<size_t>(place.spec)];
  Directory& directory = directories_[path];
  if (!directory.places.insert(place).second) return;
  if (directory.watch < 0) {
    const bool links = place.part == 0 || !parts[place.part - 1].below_wild;
    directory.watch =
        inotify_add_watch(inotify_.get(), path.c_str(), kMask | (links ? 0 : IN_DONT_FOLLOW));
    if (directory.watch >= 0) {
      by_watch_[directory.watch].insert(path);
    } else if (errno != ENOENT && errno != ENOTDIR) {
      RescanLater(absl::StrCat("cannot watch ", absl::CHexEscape(path), ": ",
                               std::generic_category().message(errno)));
    }
  }
  const Part& part = parts[place.part];
  if (!part.wild) return Look(path, place, part.text);
  DIR* const list = opendir(path.c_str());
  if (list == nullptr) return;
  std::vector<std::string> names;
  while (const dirent* const entry = readdir(list)) names.emplace_back(entry->d_name);
  closedir(list);
  for (const std::string& name : names) Look(path, place, name);
}

void SocketGlobWatcher::Look(const std::string& directory, Place place, const std::string& name) {
  const std::vector<Part>& parts = patterns_[static_cast<size_t>(place.spec)];
  const Part& part = parts[place.part];
  size_t steps = 0;
  if (part.wild ? IsHidden(name) || !part.glob.Matches(name, &steps) : name != part.text) return;
  const std::string path = Join(directory, name);
  struct stat there {};
  if (fstatat(AT_FDCWD, path.c_str(), &there, part.below_wild ? AT_SYMLINK_NOFOLLOW : 0) != 0)
    return;
  if (place.part + 1 < parts.size()) {
    if (S_ISDIR(there.st_mode)) Enter(path, {place.spec, place.part + 1});
    return;
  }
  if (!S_ISSOCK(there.st_mode)) return;
  if (!sockets_.contains(path) && sockets_.size() >= kMaxSockets) {
    return RescanLater(absl::StrCat("more than ", kMaxSockets, " sockets match"));
  }
  const int spec = sockets_.try_emplace(path, place.spec).first->second;
  if (spec == place.spec) delegate_->OnSocketPath(spec, path);
}

void SocketGlobWatcher::OnFdReady(uint32_t) {
  std::array<char, kReadBytes> buffer;
  const ssize_t size = read(inotify_.get(), buffer.data(), buffer.size());
  if (size <= 0) return;
  for (const InotifyEvent& event :
       ParseInotifyEvents(absl::string_view(buffer.data(), static_cast<size_t>(size)))) {
    OnEvent(event);
  }
}

void SocketGlobWatcher::OnEvent(const InotifyEvent& event) {
  if ((event.mask & IN_Q_OVERFLOW) != 0) return Rescan();
  const auto it = by_watch_.find(event.watch);
  if (it == by_watch_.end()) return;
  const std::set<std::string> paths = it->second;
  for (const std::string& directory : paths) {
    const auto found = directories_.find(directory);
    if (found == directories_.end()) continue;
    if ((event.mask & IN_IGNORED) != 0) {
      Leave(directory);  // its own end, which is seen in the directory above as well
    } else if ((event.mask & (IN_DELETE | IN_MOVED_FROM)) != 0) {
      Leave(Join(directory, event.name));
    } else {
      const std::set<Place> places = found->second.places;
      for (const Place& place : places) Look(directory, place, event.name);
    }
  }
}

void SocketGlobWatcher::Unwatch(const std::string& path, int watch) {
  const auto it = by_watch_.find(watch);
  if (it == by_watch_.end()) return;
  it->second.erase(path);
  if (!it->second.empty()) return;
  by_watch_.erase(it);
  inotify_rm_watch(inotify_.get(), watch);  // fails where the directory is gone
}

void SocketGlobWatcher::Leave(const std::string& path) {
  for (auto it = directories_.lower_bound(path); it != directories_.end();) {
    if (!absl::StartsWith(it->first, path)) break;
    if (!IsBelow(it->first, path)) {
      ++it;
      continue;
    }
    Unwatch(it->first, it->second.watch);
    it = directories_.erase(it);
  }
  std::vector<std::pair<std::string, int>> gone;
  for (auto it = sockets_.lower_bound(path); it != sockets_.end();) {
    if (!absl::StartsWith(it->first, path)) break;
    if (IsBelow(it->first, path)) {
      gone.emplace_back(*it);
      it = sockets_.erase(it);
    } else {
      ++it;
    }
  }
  for (const auto& [socket, spec] : gone) delegate_->OnSocketPathGone(spec, socket);
}

void SocketGlobWatcher::RescanLater(const std::string& why) {
  if (rescan_.serial != 0) return;
  spdlog::warn("--libvirt: {}; trying again every {} s", why,
               absl::ToInt64Seconds(kRescanInterval));
  rescan_ = loop_->AddTimer(loop_->Now().monotonic + kRescanInterval, [this] {
    rescan_ = {};
    Rescan();
  });
}

void SocketGlobWatcher::Rescan() {
  for (const auto& [path, directory] : directories_) Unwatch(path, directory.watch);
  directories_.clear();
  const std::map<std::string, int> before = std::exchange(sockets_, {});
  Start();
  for (const auto& [path, spec] : before) {
    if (!sockets_.contains(path)) delegate_->OnSocketPathGone(spec, path);
  }
}

}  // namespace vmeventd
