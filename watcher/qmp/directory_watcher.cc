#include "watcher/qmp/directory_watcher.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstring>
#include <optional>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "spdlog/spdlog.h"
#include "watcher/core/names.h"

namespace vmeventd {
namespace {

// One mask for all: a directory may be on the way of one spec and the directory of another, and
// the kernel keeps one mask for each inode.
constexpr uint32_t kMask = IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVED_FROM | IN_DELETE_SELF |
                           IN_MOVE_SELF | IN_ATTRIB | IN_ONLYDIR | IN_DONT_FOLLOW;
constexpr uint32_t kSelfMask = IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT;
constexpr absl::Duration kRetryInterval = absl::Seconds(5);
constexpr int kMaxLinks = 40;  // as the kernel's own limit
constexpr size_t kReadBytes = 64 << 10;

std::string Join(const std::string& directory, const std::string& name) {
  return absl::StrCat(absl::StripSuffix(directory, "/"), "/", name);
}

// The components of `path`, the last first.
std::vector<std::string> ReversedComponents(absl::string_view path) {
  std::vector<std::string> components;
  for (const absl::string_view component : absl::StrSplit(path, '/', absl::SkipEmpty())) {
    if (component != ".") components.emplace_back(component);
  }
  std::reverse(components.begin(), components.end());
  return components;
}

std::string Parent(const std::string& directory) {
  const size_t slash = directory.rfind('/');
  return slash == 0 ? "/" : directory.substr(0, slash);
}

bool IsMissing(int error) { return error == ENOENT || error == ENOTDIR; }

std::string ErrnoText(absl::string_view what, const std::string& path, int error) {
  return absl::StrCat("cannot ", what, " ", absl::CHexEscape(path), ": ",
                      std::generic_category().message(error));
}

// Returns null at the end, with errno 0, and after an error, with its errno.
const dirent* NextEntry(DIR* directory) {
  errno = 0;
  return readdir(directory);
}

// The user that the socket at `path` belongs to; unset where no socket is there.
std::optional<uint32_t> SocketOwner(int directory, const std::string& path) {
  struct stat status;
  if (fstatat(directory, path.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
      !S_ISSOCK(status.st_mode)) {
    return std::nullopt;
  }
  return status.st_uid;
}

}  // namespace

std::vector<InotifyEvent> ParseInotifyEvents(absl::string_view bytes) {
  std::vector<InotifyEvent> events;
  inotify_event header;
  while (bytes.size() >= sizeof(header)) {
    std::memcpy(&header, bytes.data(), sizeof(header));
    bytes.remove_prefix(sizeof(header));
    if (bytes.size() < header.len) break;
    // The name is padded with zero bytes.
    const absl::string_view padded = bytes.substr(0, header.len);
    std::string name(padded.substr(0, padded.find('\0')));
    events.push_back({header.wd, header.mask, std::move(name)});
    bytes.remove_prefix(header.len);
  }
  return events;
}

absl::StatusOr<std::unique_ptr<DirectoryWatcher>> DirectoryWatcher::Create(
    EventLoop* loop, std::vector<WatchSpec> specs, Delegate* delegate, SocketSet::Limits limits) {
  UniqueFd inotify(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify.valid()) {
    return absl::ErrnoToStatus(
        errno, "cannot create an inotify instance (see fs.inotify.max_user_instances)");
  }
  UniqueFd mounts(open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
  if (!mounts.valid()) spdlog::warn("cannot read /proc/self/mountinfo: mounts will go unnoticed");

  std::unique_ptr<DirectoryWatcher> watcher(new DirectoryWatcher(
      loop, std::move(specs), delegate, limits, std::move(inotify), std::move(mounts)));
  if (absl::Status status = loop->Add(watcher->inotify_.get(), EPOLLIN, watcher.get());
      !status.ok()) {
    return status;
  }
  if (watcher->mounts_.valid()) {
    // Polling it says, and clears, whether the mounts have changed since the last poll.
    if (absl::Status status = loop->Add(watcher->mounts_.get(), EPOLLPRI, watcher.get());
        !status.ok()) {
      return status;
    }
  }
  return watcher;
}

DirectoryWatcher::DirectoryWatcher(EventLoop* loop, std::vector<WatchSpec> specs,
                                   Delegate* delegate, const SocketSet::Limits& limits,
                                   UniqueFd inotify, UniqueFd mounts)
    : loop_(loop), delegate_(delegate), inotify_(std::move(inotify)), mounts_(std::move(mounts)) {
  for (WatchSpec& spec : specs) specs_.emplace_back(std::move(spec), limits);
}

DirectoryWatcher::~DirectoryWatcher() {
  loop_->CancelTimer(&retry_timer_);
  loop_->Remove(inotify_.get());
  if (mounts_.valid()) loop_->Remove(mounts_.get());
}

void DirectoryWatcher::Start() {
  started_ = true;
  EvaluateAll(true);
  for (const Spec& spec : specs_) {
    if (spec.directory_watch >= 0 || !spec.problem.empty()) continue;
    spdlog::warn("{} is not there: its VMs are followed when it is; check --watch if it should be",
                 absl::CHexEscape(spec.watch.directory));
  }
}

void DirectoryWatcher::OnFdReady(uint32_t events) {
  if ((events & EPOLLIN) == 0) {       // of the mounts: they have changed
    if (started_) EvaluateAll(false);  // Start looks at everything anyway
    return;
  }
  std::array<char, kReadBytes> buffer;
  const ssize_t size = read(inotify_.get(), buffer.data(), buffer.size());
  if (size > 0) Dispatch(absl::string_view(buffer.data(), static_cast<size_t>(size)));
}

void DirectoryWatcher::Dispatch(absl::string_view bytes) {
  absl::flat_hash_set<int> changed;
  bool overflow = false;
  for (const InotifyEvent& event : ParseInotifyEvents(bytes)) {
    if (event.mask & IN_Q_OVERFLOW) overflow = true;
    const auto it = uses_.find(event.watch);
    if (it == uses_.end()) continue;  // of a watch that is not needed any more
    for (const Use& use : it->second) {
      if ((event.mask & kSelfMask) || event.name.empty()) {
        changed.insert(use.spec);
      } else if (!use.next_name.empty()) {
        if (event.name == use.next_name) changed.insert(use.spec);
      } else if (!(event.mask & IN_ISDIR)) {
        Look(use.spec, event.name);
      }
    }
    if (event.mask & IN_IGNORED) uses_.erase(it);  // the kernel has dropped the watch
  }
  if (overflow) {
    overflows_.Add();
    spdlog::warn("the inotify queue overflowed: reading all watched directories again");
    EvaluateAll(true);
    return;
  }
  for (const int spec : changed) Evaluate(spec, false);
  ArmRetry();
  ReportDirectories();
}

void DirectoryWatcher::EvaluateAll(bool scan_always) {
  for (size_t spec = 0; spec < specs_.size(); ++spec) {
    Evaluate(static_cast<int>(spec), scan_always);
  }
  ArmRetry();
  ReportDirectories();
}

void DirectoryWatcher::Evaluate(int index, bool scan_always) {
  Spec& spec = specs_[index];
  spec.needs_retry = false;
  std::string problem;
  Way way;
  const int directory = WalkTo(index, &way, &problem);
  ReplaceWay(index, way);
  const bool changed = directory != spec.directory_watch;
  spec.directory_watch = directory;
  if (directory < 0) {
    if (changed) spdlog::info("{} is not there", absl::CHexEscape(spec.watch.directory));
    spec.left_out = spec.needs_scan = false;
    DropSockets(index, {});
  } else if (changed || scan_always || spec.needs_scan) {
    Scan(index, &problem);
  }
  SetProblem(index, std::move(problem));
}

int DirectoryWatcher::WalkTo(int index, Way* way, std::string* problem) {
  Spec& spec = specs_[index];
  std::vector<std::string> ahead = ReversedComponents(spec.watch.directory);
  std::string current = "/";
  int links = 0;
  while (true) {
    const std::string next = ahead.empty() ? "" : ahead.back();
    if (next == "..") {  // only out of a link's target; `current` holds no link
      current = Parent(current);
      ahead.pop_back();
      continue;
    }
    const int watch = inotify_add_watch(inotify_.get(), current.c_str(), kMask);
    if (watch >= 0) {
      way->push_back({watch, next});
    } else if (IsMissing(errno)) {
      return -1;  // removed since it was looked at: an event of its parent waits
    } else {
      // A parent that may be passed but not read can only be looked at from time to time.
      *problem = ErrnoText("watch", current, errno);
      spec.needs_retry = true;
    }
    if (ahead.empty()) return watch;
    ahead.pop_back();

    const std::string path = Join(current, next);
    struct stat status;
    if (lstat(path.c_str(), &status) != 0) {
      if (IsMissing(errno)) return -1;
      *problem = ErrnoText("look at", path, errno);
      spec.needs_retry = true;
      return -1;
    }
    if (S_ISLNK(status.st_mode)) {
      std::array<char, PATH_MAX> target;
      const ssize_t size = readlink(path.c_str(), target.data(), target.size());
      if (size <= 0 || ++links > kMaxLinks) return -1;
      const absl::string_view text(target.data(), static_cast<size_t>(size));
      for (std::string& name : ReversedComponents(text)) ahead.push_back(std::move(name));
      if (text.front() == '/') current = "/";
    } else if (S_ISDIR(status.st_mode)) {
      current = path;
    } else {
      return -1;
    }
  }
}

void DirectoryWatcher::ReplaceWay(int index, const Way& way) {
  Spec& spec = specs_[index];
  const auto is_own = [index](const Use& use) { return use.spec == index; };
  for (const int watch : spec.watches) {
    const auto it = uses_.find(watch);
    if (it != uses_.end()) std::erase_if(it->second, is_own);
  }
  const std::vector<int> old_watches = std::exchange(spec.watches, {});
  for (const auto& [watch, next_name] : way) {
    uses_[watch].push_back({index, next_name});
    spec.watches.push_back(watch);
  }
  for (const int watch : old_watches) {
    const auto it = uses_.find(watch);
    if (it == uses_.end() || !it->second.empty()) continue;
    uses_.erase(it);
    inotify_rm_watch(inotify_.get(), watch);  // EINVAL: the kernel was first
  }
}

void DirectoryWatcher::Scan(int index, std::string* problem) {
  Spec& spec = specs_[index];
  if (spec.scanned) rescans_.Add();
  spec.scanned = true;
  spec.needs_scan = false;
  DIR* const directory = opendir(spec.watch.directory.c_str());
  if (directory == nullptr) {
    // Sockets that were there stay known: a full descriptor table removes none.
    const int error = errno;
    *problem = ErrnoText("read", spec.watch.directory, error);
    spec.needs_retry = true;
    spec.directory_watch = -1;  // so that the retry scans
    return;
  }
  spec.left_out = false;
  absl::flat_hash_set<std::string> known;
  SocketSet fresh(spec.sockets.limits());
  while (const dirent* entry = NextEntry(directory)) {
    const std::string name = entry->d_name;
    if (!spec.watch.VmName(name).has_value()) continue;
    if (entry->d_type != DT_SOCK && entry->d_type != DT_UNKNOWN) continue;
    const auto owner = SocketOwner(dirfd(directory), name);
    if (!owner.has_value()) continue;
    if (spec.sockets.contains(name)) {
      known.insert(name);
    } else {
      AddSocket(index, &fresh, name, *owner);
    }
  }
  if (const int error = errno; error != 0) {
    // Sockets that were not listed may be there all the same.
    *problem = ErrnoText("read all of", spec.watch.directory, error);
    spec.needs_retry = true;
    spec.directory_watch = -1;  // so that the retry scans
  } else {
    DropSockets(index, known);
  }
  closedir(directory);
  for (const std::string& name : known) delegate_->OnSocket(index, name);
  for (const auto& [text, owner] : fresh.owners()) {
    const std::string name(text);
    if (AddSocket(index, &spec.sockets, name, owner)) delegate_->OnSocket(index, name);
  }
  if (spec.left_out && problem->empty()) {
    *problem = "there are more sockets than are followed";
  }
}

bool DirectoryWatcher::AddSocket(int index, SocketSet* sockets, const std::string& name,
                                 uint32_t owner) {
  switch (sockets->Add(name, owner)) {
    case SocketSet::Result::kAdded:
      return true;
    case SocketSet::Result::kOwnerFull:
      over_owner_limit_.Add();
      break;
    case SocketSet::Result::kDirectoryFull:
      over_directory_limit_.Add();
      break;
  }
  specs_[index].left_out = true;
  return false;
}

void DirectoryWatcher::RemoveSocket(int index, const std::string& name) {
  Spec& spec = specs_[index];
  if (!spec.sockets.Remove(name)) return;
  if (spec.left_out) spec.needs_retry = spec.needs_scan = true;  // there is room for another
  delegate_->OnSocketGone(index, name);
}

void DirectoryWatcher::DropSockets(int index, const absl::flat_hash_set<std::string>& except) {
  std::vector<std::string> gone;
  for (const auto& [name, owner] : specs_[index].sockets.owners()) {
    if (!except.contains(name)) gone.emplace_back(name);
  }
  for (const std::string& name : gone) RemoveSocket(index, name);
}

void DirectoryWatcher::Look(int index, const std::string& name) {
  Spec& spec = specs_[index];
  if (!spec.watch.VmName(name).has_value()) return;
  // The present state counts, whatever the event said: later events are in the queue.
  const auto owner = SocketOwner(AT_FDCWD, Join(spec.watch.directory, name));
  if (!owner.has_value()) return RemoveSocket(index, name);
  if (AddSocket(index, &spec.sockets, name, *owner)) {
    delegate_->OnSocket(index, name);
  } else {
    SetProblem(index, "there are more sockets than are followed");
  }
}

void DirectoryWatcher::SetProblem(int index, std::string problem) {
  Spec& spec = specs_[index];
  if (problem == spec.problem) return;
  if (!problem.empty()) {
    spdlog::warn("watching {}: {}; trying again", absl::CHexEscape(spec.watch.directory), problem);
  }
  spec.problem = std::move(problem);
}

void DirectoryWatcher::ArmRetry() {
  if (retry_timer_.serial != 0) return;
  const auto needs_retry = [](const Spec& spec) { return spec.needs_retry; };
  if (std::none_of(specs_.begin(), specs_.end(), needs_retry)) return;
  loop_->SetTimerIn(&retry_timer_, kRetryInterval, [this, needs_retry] {
    for (size_t spec = 0; spec < specs_.size(); ++spec) {
      if (needs_retry(specs_[spec])) Evaluate(static_cast<int>(spec), false);
    }
    ArmRetry();
    ReportDirectories();
  });
}

bool DirectoryWatcher::any_present() const {
  return std::any_of(specs_.begin(), specs_.end(),
                     [](const Spec& spec) { return spec.directory_watch >= 0; });
}

void DirectoryWatcher::ReportDirectories() {
  std::vector<WatchedDirectory> now;
  for (const Spec& spec : specs_) {
    now.push_back({EscapeNonUtf8(spec.watch.directory), EscapeNonUtf8(spec.watch.pattern()),
                   spec.directory_watch >= 0, static_cast<int>(spec.sockets.size())});
  }
  const auto same = [](const WatchedDirectory& a, const WatchedDirectory& b) {
    return a.present == b.present && a.sockets == b.sockets;
  };
  if (std::equal(now.begin(), now.end(), reported_.begin(), reported_.end(), same)) return;
  reported_ = now;
  delegate_->OnDirectories(std::move(now));
}

}  // namespace vmeventd
