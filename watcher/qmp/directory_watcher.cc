#include "watcher/qmp/directory_watcher.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "spdlog/spdlog.h"
#include "watcher/core/managers.h"
#include "watcher/core/names.h"

namespace vmeventd {
namespace {

constexpr uint32_t kMask = IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF |
                           IN_MOVE_SELF | IN_ATTRIB | IN_ONLYDIR;
constexpr uint32_t kSelfMask = IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT;
constexpr absl::Duration kRetryInterval = absl::Seconds(1);
constexpr absl::Duration kCheckInterval = absl::Seconds(10);
// Limit of sockets in the directory of one VM.
constexpr size_t kMaxSocketsOfVm = 16;
constexpr size_t kReadBytes = 64 << 10;

std::string Join(const std::string& directory, const std::string& name) {
  return absl::StrCat(absl::StripSuffix(directory, "/"), "/", name);
}

std::string Failed(absl::string_view what, const std::string& path, int error) {
  return absl::StrCat("cannot ", what, " ", absl::CHexEscape(path), ": ", ErrnoText(error));
}

constexpr char kTooMany[] = "it has more sockets than vmeventd follows in one directory";

}  // namespace

absl::StatusOr<std::unique_ptr<DirectoryWatcher>> DirectoryWatcher::Create(
    EventLoop* loop, std::vector<WatchSpec> specs, Delegate* delegate, size_t max_sockets) {
  UniqueFd inotify(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify.valid()) {
    return absl::ErrnoToStatus(
        errno, "cannot create an inotify instance (see fs.inotify.max_user_instances)");
  }
  std::unique_ptr<DirectoryWatcher> watcher(
      new DirectoryWatcher(loop, std::move(specs), delegate, max_sockets, std::move(inotify)));
  if (absl::Status status = loop->Add(watcher->inotify_.get(), EPOLLIN, watcher.get());
      !status.ok()) {
    return status;
  }
  return watcher;
}

DirectoryWatcher::DirectoryWatcher(EventLoop* loop, std::vector<WatchSpec> specs,
                                   Delegate* delegate, size_t max_sockets, UniqueFd inotify)
    : loop_(loop),
      delegate_(delegate),
      inotify_(std::move(inotify)),
      specs_(std::move(specs)),
      last_number_(static_cast<int>(specs_.size()) - 1) {
  for (int spec = 0; spec <= last_number_; ++spec) {
    directories_.try_emplace(spec, spec, specs_[spec].root(), max_sockets);
  }
}

DirectoryWatcher::~DirectoryWatcher() {
  loop_->CancelTimer(&retry_timer_);
  loop_->CancelTimer(&check_timer_);
  loop_->Remove(inotify_.get());
}

void DirectoryWatcher::Start() {
  EvaluateAll(true);
  CheckLater();
  for (const auto& [number, directory] : directories_) {
    if (!directory.entry.empty()) continue;
    if (directory.sockets == 0 && !directory.unmatched.empty()) WarnOfPattern(directory);
    if (directory.watch >= 0 || !directory.problem.empty()) continue;
    if (specs_[directory.spec].optional) {
      spdlog::info("{} does not exist: its VMs are followed once it does", directory.path);
      continue;
    }
    spdlog::warn(
        "{} does not exist: its VMs are followed once it does; check --watch if it should exist",
        absl::CHexEscape(directory.path));
  }
}

void DirectoryWatcher::WarnOfPattern(const Directory& root) const {
  const WatchSpec& spec = specs_[root.spec];
  std::string hint;
  if (!spec.has_directories()) {
    const size_t dot = root.unmatched.rfind('.');
    const WatchSpec other = {spec.directory,
                             "*" + root.unmatched.substr(std::min(dot, root.unmatched.size()))};
    if (!FindManagerMonitors(other).has_value()) {
      hint = absl::StrCat(": if it is a monitor of a VM, write --watch '",
                          absl::CHexEscape(other.text()), "'");
    }
  }
  spdlog::warn("no socket in {} matches {}, but {} exists{}", absl::CHexEscape(spec.directory),
               absl::CHexEscape(spec.pattern), absl::CHexEscape(root.unmatched), hint);
}

void DirectoryWatcher::OnFdReady(uint32_t) {
  std::array<char, kReadBytes> buffer;
  const ssize_t size = read(inotify_.get(), buffer.data(), buffer.size());
  if (size > 0) Dispatch(absl::string_view(buffer.data(), static_cast<size_t>(size)));
}

void DirectoryWatcher::Dispatch(absl::string_view bytes) {
  std::vector<int> changed;
  bool overflow = false;
  inotify_event event;
  while (bytes.size() >= sizeof(event)) {
    std::memcpy(&event, bytes.data(), sizeof(event));
    const absl::string_view padded = bytes.substr(sizeof(event), event.len);  // with zero bytes
    const std::string name(padded.substr(0, padded.find('\0')));
    bytes.remove_prefix(sizeof(event) + padded.size());
    if (event.mask & IN_Q_OVERFLOW) overflow = true;
    const auto it = users_.find(event.wd);
    if (it == users_.end()) continue;             // of a watch that is not needed any more
    const std::vector<int> numbers = it->second;  // to look may change it
    if ((event.mask & kSelfMask) || name.empty()) {
      changed.insert(changed.end(), numbers.begin(), numbers.end());
      if (event.mask & IN_IGNORED) users_.erase(it);  // the kernel has dropped the watch
      continue;
    }
    for (const int number : numbers) Look(number, name);
  }
  if (overflow) {
    overflows_.Add();
    spdlog::warn("the inotify queue overflowed: reading all watched directories again");
    return EvaluateAll(true);
  }
  for (const int number : changed) Evaluate(number, false);
  ReportDirectories();
}

void DirectoryWatcher::EvaluateAll(bool scan_always) {
  std::vector<int> numbers;
  for (const auto& [number, directory] : directories_) numbers.push_back(number);
  for (const int number : numbers) Evaluate(number, scan_always);
  ReportDirectories();
}

void DirectoryWatcher::Evaluate(int number, bool scan_always) {
  const auto it = directories_.find(number);
  if (it == directories_.end()) return;  // its root has lost it meanwhile
  Directory& directory = it->second;
  std::string problem;
  const int watch = Watch(directory.path, &problem);
  const bool changed = watch != directory.watch;
  SetWatch(number, watch);
  if (watch < 0) {
    if (changed && directory.entry.empty()) {
      spdlog::info("{} does not exist", absl::CHexEscape(directory.path));
    }
    directory.left_out = directory.needs_scan = false;
    DropEntries(number, {});
    RetryLater();
  } else if (changed || scan_always || directory.needs_scan) {
    if (changed && specs_[directory.spec].optional) {
      spdlog::info("found {}: following its VMs", directory.path);
    }
    Scan(number, &problem);
  } else {
    return;  // as before
  }
  SetProblem(&directory, std::move(problem));
}

int DirectoryWatcher::Watch(const std::string& path, std::string* problem) const {
  struct stat status;
  if (fstatat(AT_FDCWD, path.c_str(), &status, 0) == 0 && status.st_nlink == 0) {
    *problem = absl::StrCat(absl::CHexEscape(path),
                            " was removed on the host side of its mount, and a directory created "
                            "there since is not visible here: mount its parent instead");
    return -1;
  }
  const int watch = inotify_add_watch(inotify_.get(), path.c_str(), kMask);
  if (watch < 0 && errno != ENOENT && errno != ENOTDIR) *problem = Failed("watch", path, errno);
  return watch;
}

void DirectoryWatcher::SetWatch(int number, int watch) {
  const int before = std::exchange(directories_.at(number).watch, watch);
  if (watch == before) return;
  if (watch >= 0) users_[watch].push_back(number);
  const auto it = users_.find(before);
  if (it == users_.end()) return;
  it->second.erase(std::find(it->second.begin(), it->second.end(), number));
  if (!it->second.empty()) return;
  users_.erase(it);
  inotify_rm_watch(inotify_.get(), before);  // EINVAL: the kernel was first
}

std::string DirectoryWatcher::BelowRoot(const Directory& directory, const std::string& name) const {
  const std::string path = Join(directory.path, name);
  return std::string(absl::StripPrefix(path, specs_[directory.spec].PathOf("")));
}

bool DirectoryWatcher::IsWanted(Directory* directory, const std::string& name, int at,
                                const std::string& path) {
  const WatchSpec& spec = specs_[directory->spec];
  struct stat status;
  if (HasDirectories(*directory)) {
    return spec.DirectoryOf(name).has_value() && fstatat(at, path.c_str(), &status, 0) == 0 &&
           S_ISDIR(status.st_mode);
  }
  if (!spec.TakesFile(name) || fstatat(at, path.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
    return false;
  }
  if (S_ISSOCK(status.st_mode)) return true;
  if (S_ISLNK(status.st_mode) && fstatat(at, path.c_str(), &status, 0) == 0 &&
      S_ISSOCK(status.st_mode) && !std::exchange(directory->link_logged, true)) {
    spdlog::warn(
        "{} is a symbolic link to a socket, which is not followed: watch the directory of the "
        "socket itself",
        absl::CHexEscape(Join(directory->path, name)));
  }
  return false;
}

void DirectoryWatcher::Scan(int number, std::string* problem) {
  Directory& directory = directories_.at(number);
  if (directory.scanned) rescans_.Add();
  directory.scanned = true;
  directory.needs_scan = directory.unreadable = false;
  DIR* const stream = opendir(directory.path.c_str());
  if (stream == nullptr) {
    // Sockets that were there stay known: a full descriptor table removes none.
    const int error = errno;
    *problem = Failed("read", directory.path, error);
    directory.unreadable = true;
    ScanLater(&directory);
    return;
  }
  directory.left_out = false;
  const auto type = HasDirectories(directory) ? DT_DIR : DT_SOCK;
  absl::flat_hash_set<std::string> known;
  std::vector<std::string> fresh;
  while (true) {
    errno = 0;  // 0 as well at the end
    const dirent* const entry = readdir(stream);
    if (entry == nullptr) break;
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    if (entry->d_type != type && entry->d_type != DT_UNKNOWN && entry->d_type != DT_LNK) continue;
    if (!IsWanted(&directory, name, dirfd(stream), name)) {
      if (entry->d_type == DT_SOCK) directories_.at(directory.spec).unmatched = name;
    } else if (directory.entries.contains(name)) {
      known.insert(name);
    } else if (fresh.size() <= directory.max_entries) {
      fresh.push_back(name);
    }
  }
  if (const int error = errno; error != 0) {
    // Sockets that were not listed may be there all the same.
    *problem = Failed("read all of", directory.path, error);
    ScanLater(&directory);
  } else {
    DropEntries(number, known);
  }
  closedir(stream);
  for (const std::string& name : known) OnEntry(number, name);
  for (const std::string& name : fresh) {
    if (AddEntry(&directory, name)) OnEntry(number, name);
  }
  if (directory.left_out && problem->empty()) *problem = kTooMany;
}

bool DirectoryWatcher::AddEntry(Directory* directory, const std::string& name) {
  if (directory->entries.contains(name)) return true;
  if (directory->entries.size() >= directory->max_entries) {
    left_out_.Add();
    directory->left_out = true;
    return false;
  }
  directory->entries.insert(name);
  if (!HasDirectories(*directory)) ++directories_.at(directory->spec).sockets;
  return true;
}

void DirectoryWatcher::OnEntry(int number, const std::string& name) {
  Directory& directory = directories_.at(number);
  const WatchSpec& spec = specs_[directory.spec];
  if (!HasDirectories(directory)) {
    return delegate_->OnSocket(directory.spec, BelowRoot(directory, name));
  }
  const auto [it, is_new] = directory.numbers.try_emplace(name, last_number_ + 1);
  if (is_new) {
    directories_
        .try_emplace(++last_number_, directory.spec, *spec.DirectoryOf(name), kMaxSocketsOfVm)
        .first->second.entry = name;
  }
  Evaluate(it->second, false);
}

void DirectoryWatcher::RemoveEntry(int number, const std::string& name) {
  Directory& directory = directories_.at(number);
  if (directory.entries.erase(name) == 0) return;
  if (directory.left_out) ScanLater(&directory);  // there is room for another
  if (!HasDirectories(directory)) {
    --directories_.at(directory.spec).sockets;
    return delegate_->OnSocketGone(directory.spec, BelowRoot(directory, name));
  }
  const auto it = directory.numbers.find(name);
  const int gone = it->second;
  directory.numbers.erase(it);
  DropEntries(gone, {});
  SetWatch(gone, -1);
  directories_.erase(gone);
}

void DirectoryWatcher::DropEntries(int number, const absl::flat_hash_set<std::string>& except) {
  std::vector<std::string> gone;
  for (const std::string& name : directories_.at(number).entries) {
    if (!except.contains(name)) gone.push_back(name);
  }
  for (const std::string& name : gone) RemoveEntry(number, name);
}

void DirectoryWatcher::Look(int number, const std::string& name) {
  const auto it = directories_.find(number);
  if (it == directories_.end()) return;
  Directory& directory = it->second;
  // The present state counts, whatever the event said: later events are in the queue.
  if (!IsWanted(&directory, name, AT_FDCWD, Join(directory.path, name))) {
    return RemoveEntry(number, name);
  }
  if (AddEntry(&directory, name)) {
    OnEntry(number, name);
  } else {
    SetProblem(&directory, kTooMany);
  }
}

void DirectoryWatcher::SetProblem(Directory* directory, std::string problem) {
  if (problem == directory->problem) return;
  if (!problem.empty()) {
    spdlog::warn("watching {}: {}; trying again", absl::CHexEscape(directory->path), problem);
  }
  directory->problem = std::move(problem);
}

void DirectoryWatcher::RetryLater() {
  if (retry_timer_.serial != 0) return;
  loop_->SetTimerIn(&retry_timer_, kRetryInterval, [this] {
    std::vector<int> numbers;
    for (const auto& [number, directory] : directories_) {
      if (directory.watch < 0 || directory.needs_scan) numbers.push_back(number);
    }
    for (const int number : numbers) Evaluate(number, false);
    ReportDirectories();
  });
}

void DirectoryWatcher::CheckLater() {
  loop_->SetTimerIn(&check_timer_, kCheckInterval, [this] {
    EvaluateAll(false);
    CheckLater();
  });
}

bool DirectoryWatcher::any_present() const {
  return std::any_of(directories_.begin(), directories_.end(),
                     [](const auto& directory) { return directory.second.present(); });
}

void DirectoryWatcher::ReportDirectories() {
  std::vector<v1::WatchedDirectory> now;
  for (int spec = 0; spec < static_cast<int>(specs_.size()); ++spec) {
    const Directory& root = directories_.at(spec);
    if (specs_[spec].optional && root.watch < 0) continue;
    v1::WatchedDirectory& directory = now.emplace_back();
    directory.set_path(EscapeNonUtf8(specs_[spec].directory));
    directory.set_pattern(EscapeNonUtf8(specs_[spec].pattern));
    directory.set_present(root.present());
    directory.set_sockets(root.sockets);
  }
  const auto same = [](const v1::WatchedDirectory& a, const v1::WatchedDirectory& b) {
    return a.present() == b.present() && a.sockets() == b.sockets();
  };
  if (std::equal(now.begin(), now.end(), reported_.begin(), reported_.end(), same)) return;
  reported_ = now;
  delegate_->OnDirectories(std::move(now));
}

}  // namespace vmeventd
