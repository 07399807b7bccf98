#include "watcher/libvirt/socket_glob_watcher.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/patterns.h"
#include "spdlog/spdlog.h"
#include "watcher/core/specs.h"

namespace vmeventd {
namespace {

// Divisor of the loop's time: looking may take one part in so many.
constexpr int kShare = 50;

// Names that a shell's pattern leaves out.
bool IsHidden(const std::string& name) { return absl::StartsWith(name, "."); }

}  // namespace

SocketGlobWatcher::SocketGlobWatcher(EventLoop* loop, const std::vector<std::string>& patterns,
                                     Callback on_look)
    : loop_(loop), on_look_(std::move(on_look)) {
  for (const std::string& pattern : patterns) {
    Pattern& parts = patterns_.emplace_back();
    if (!IsGlob(pattern)) continue;
    for (const absl::string_view part : absl::StrSplit(pattern, '/', absl::SkipEmpty())) {
      const bool wild = IsGlob(part);
      const bool below_wild = wild || (!parts.empty() && parts.back().below_wild);
      parts.push_back({std::string(part), wild, below_wild, Glob(part)});
    }
  }
}

void SocketGlobWatcher::Start() {
  const auto matches_none = [](const Pattern& pattern) { return pattern.empty(); };
  if (!std::all_of(patterns_.begin(), patterns_.end(), matches_none)) Scan();
}

void SocketGlobWatcher::Scan() {
  const absl::Duration began = loop_->Now().monotonic;
  entries_ = 0;
  new_sockets_ = sockets_.size();
  limited_ = false;
  for (size_t spec = 0; spec < patterns_.size(); ++spec) {
    if (!patterns_[spec].empty()) Enter(static_cast<int>(spec), 0, "");
  }
  warned_ = limited_;
  const std::map<std::string, Socket> before = std::exchange(sockets_, std::exchange(found_, {}));
  const absl::Duration now = loop_->Now().monotonic;
  loop_->SetTimer(&next_, now + std::max(kInterval, (now - began) * kShare), [this] { Scan(); });
  std::vector<Change> changes;
  for (const auto& [path, socket] : before) {
    if (!sockets_.contains(path)) changes.push_back({socket.spec, path, /*gone=*/true});
  }
  for (const auto& [path, socket] : sockets_) {
    const auto it = before.find(path);
    if (it == before.end() || it->second != socket) changes.push_back({socket.spec, path});
  }
  on_look_(changes);
}

void SocketGlobWatcher::Enter(int spec, size_t at, const std::string& path) {
  const Part& part = patterns_[static_cast<size_t>(spec)][at];
  if (!part.wild) return Look(spec, at, absl::StrCat(path, "/", part.text));
  DIR* const list = opendir(path.empty() ? "/" : path.c_str());
  if (list == nullptr) return;
  while (const dirent* const entry = readdir(list)) {
    if (!Count(&entries_, kMaxEntries, "files in the matching directories")) break;
    const std::string name = entry->d_name;
    if (!IsHidden(name) && part.glob.Matches(name)) {
      Look(spec, at, absl::StrCat(path, "/", name));
    }
  }
  closedir(list);
}

void SocketGlobWatcher::Look(int spec, size_t at, const std::string& path) {
  const Pattern& pattern = patterns_[static_cast<size_t>(spec)];
  struct stat there {};
  const int flags = pattern[at].below_wild ? AT_SYMLINK_NOFOLLOW : 0;
  if (fstatat(AT_FDCWD, path.c_str(), &there, flags) != 0) return;
  if (at + 1 < pattern.size()) {
    if (S_ISDIR(there.st_mode)) Enter(spec, at + 1, path);
    return;
  }
  if (!S_ISSOCK(there.st_mode)) return;
  // Sockets that were found before keep their places.
  if (!sockets_.contains(path) && !found_.contains(path) &&
      !Count(&new_sockets_, kMaxSockets, "matching sockets")) {
    return;
  }
  found_.try_emplace(path,
                     Socket{spec,
                            {there.st_dev, there.st_ino},
                            int64_t{there.st_ctim.tv_sec} * 1'000'000'000 + there.st_ctim.tv_nsec});
}

bool SocketGlobWatcher::Count(size_t* count, size_t limit, const char* what) {
  if (*count < limit) {
    ++*count;
    return true;
  }
  if (!std::exchange(limited_, true) && !warned_) {
    spdlog::warn("--libvirt: more than {} {}: the others are not followed", limit, what);
  }
  return false;
}

}  // namespace vmeventd
