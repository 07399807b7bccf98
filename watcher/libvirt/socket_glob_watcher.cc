#include "watcher/libvirt/socket_glob_watcher.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/glob.h"
#include "spdlog/spdlog.h"

namespace vmeventd {
namespace {

// The search may use at most this fraction of the thread's time: one part in kShare.
constexpr int kShare = 50;

// Returns whether a shell's pattern omits the name.
bool IsHidden(const std::string& name) { return absl::StartsWith(name, "."); }

}  // namespace

class SocketGlobWatcher::Look {
 public:
  Look(const std::vector<Pattern>& patterns, const Sockets& known)
      : patterns_(patterns), known_(known), new_sockets_(known.size()) {
    for (size_t spec = 0; spec < patterns_.size(); ++spec) {
      if (!patterns_[spec].empty()) Enter(static_cast<int>(spec), 0, "");
    }
  }

  Sockets found;
  std::string limited;  // the limit that it met; empty: none

 private:
  // Searches the directory `path` for entries that match part `at` of the pattern.
  void Enter(int spec, size_t at, const std::string& path) {
    const Part& part = patterns_[static_cast<size_t>(spec)][at];
    if (!part.wild) return LookAt(spec, at, absl::StrCat(path, "/", part.text));
    DIR* const list = opendir(path.empty() ? "/" : path.c_str());
    if (list == nullptr) return;
    // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this function's own.
    while (const dirent* const entry = readdir(list)) {
      if (!Count(&entries_, kMaxEntries, "files in the matching directories")) break;
      const std::string name = entry->d_name;
      if (!IsHidden(name) && part.glob.Matches(name)) {
        LookAt(spec, at, absl::StrCat(path, "/", name));
      }
    }
    closedir(list);
  }

  void LookAt(int spec, size_t at, const std::string& path) {
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
    if (!known_.contains(path) && !found.contains(path) &&
        !Count(&new_sockets_, kMaxSockets, "matching sockets")) {
      return;
    }
    found.try_emplace(
        path, Socket{spec,
                     {there.st_dev, there.st_ino},
                     int64_t{there.st_ctim.tv_sec} * 1'000'000'000 + there.st_ctim.tv_nsec});
  }

  // Adds one to `*count`. Returns whether the count is within `limit`.
  bool Count(size_t* count, size_t limit, const char* what) {
    if (*count < limit) {
      ++*count;
      return true;
    }
    if (limited.empty()) limited = absl::StrCat(limit, " ", what);
    return false;
  }

  const std::vector<Pattern>& patterns_;
  const Sockets& known_;
  size_t entries_ = 0;
  size_t new_sockets_;  // those that were reported included
};

SocketGlobWatcher::SocketGlobWatcher(EventLoop* loop, const std::vector<std::string>& patterns,
                                     absl::Duration patience, Callback on_look)
    : loop_(loop), on_look_(std::move(on_look)), thread_(loop, patience, [this] {
        hangs_ = thread_.hangs();
        if (!hangs_) {
          spdlog::info("--libvirt: looking for sockets works again");
          return Scan();
        }
        spdlog::warn(
            "--libvirt: looking for sockets has taken 5 s: a file system does not respond; "
            "until it does, a libvirt that starts is not found");
      }) {
  auto all = std::make_shared<std::vector<Pattern>>();
  for (const std::string& pattern : patterns) {
    Pattern& parts = all->emplace_back();
    if (!IsGlob(pattern)) continue;
    for (const absl::string_view part : absl::StrSplit(pattern, '/', absl::SkipEmpty())) {
      const bool wild = IsGlob(part);
      const bool below_wild = wild || (!parts.empty() && parts.back().below_wild);
      parts.push_back({std::string(part), wild, below_wild, Glob(part)});
    }
  }
  patterns_ = std::move(all);
}

void SocketGlobWatcher::Start() {
  const auto matches_none = [](const Pattern& pattern) { return pattern.empty(); };
  looked_ = std::all_of(patterns_->begin(), patterns_->end(), matches_none);
  if (!looked_) Scan();
}

void SocketGlobWatcher::Scan() {
  const absl::Duration began = loop_->Now().monotonic;
  thread_.Run(
      [this, patterns = patterns_, known = sockets_, began]() -> DirectoryThread::Then {
        Look look(*patterns, known);
        return [this, found = std::move(look.found), limited = std::move(look.limited),
                began]() mutable {
          OnLook(std::move(found), std::move(limited), loop_->Now().monotonic - began);
        };
      },
      [] {});
}

void SocketGlobWatcher::OnLook(Sockets found, std::string limited, absl::Duration took) {
  looked_ = true;
  if (!limited.empty() && !warned_) {
    spdlog::warn("--libvirt: found more than {}; the others are not followed", limited);
  }
  warned_ = !limited.empty();
  const Sockets before = std::exchange(sockets_, std::move(found));
  loop_->SetTimerIn(&next_, std::max(kInterval, took * kShare), [this] { Scan(); });
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

}  // namespace vmeventd
