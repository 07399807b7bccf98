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
constexpr absl::Duration kCheckInterval = absl::Seconds(10);
constexpr int kMaxLinks = 40;  // as the kernel's own limit
// Limit of sockets in the directory of one VM.
constexpr size_t kMaxSocketsOfVm = 16;
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

constexpr char kTooMany[] = "there are more sockets than are followed";

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
    EventLoop* loop, std::vector<WatchSpec> specs, Delegate* delegate, size_t max_sockets) {
  UniqueFd inotify(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify.valid()) {
    return absl::ErrnoToStatus(
        errno, "cannot create an inotify instance (see fs.inotify.max_user_instances)");
  }
  UniqueFd mounts(open("/proc/self/mountinfo", O_RDONLY | O_CLOEXEC));
  if (!mounts.valid()) spdlog::warn("cannot read /proc/self/mountinfo: mounts will go unnoticed");

  std::unique_ptr<DirectoryWatcher> watcher(new DirectoryWatcher(
      loop, std::move(specs), delegate, max_sockets, std::move(inotify), std::move(mounts)));
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
                                   Delegate* delegate, size_t max_sockets, UniqueFd inotify,
                                   UniqueFd mounts)
    : loop_(loop),
      delegate_(delegate),
      inotify_(std::move(inotify)),
      mounts_(std::move(mounts)),
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
  if (mounts_.valid()) loop_->Remove(mounts_.get());
}

void DirectoryWatcher::Start() {
  started_ = true;
  EvaluateAll(true);
  ArmCheck();
  for (const auto& [number, directory] : directories_) {
    if (!directory.entry.empty()) continue;
    if (directory.sockets == 0 && !directory.unmatched.empty()) WarnOfPattern(directory);
    if (directory.watch >= 0 || !directory.problem.empty()) continue;
    if (specs_[directory.spec].optional) {
      spdlog::info("{} is not there: its VMs are followed when it is", directory.path);
      continue;
    }
    spdlog::warn("{} is not there: its VMs are followed when it is; check --watch if it should be",
                 absl::CHexEscape(directory.path));
  }
}

void DirectoryWatcher::WarnOfPattern(const Directory& root) const {
  const WatchSpec& spec = specs_[root.spec];
  std::string hint;
  if (!spec.has_directories()) {
    const size_t dot = root.unmatched.rfind('.');
    WatchSpec other = {spec.directory, "",
                       dot == std::string::npos ? "" : root.unmatched.substr(dot)};
    if (!FindManagerMonitor(other).has_value()) {
      hint = absl::StrCat(": if it is a monitor of a VM, write --watch '",
                          absl::CHexEscape(other.text()), "'");
    }
  }
  spdlog::warn("no socket in {} matches {}, and {} is there{}", absl::CHexEscape(spec.directory),
               absl::CHexEscape(spec.pattern()), absl::CHexEscape(root.unmatched), hint);
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
  std::set<int> changed;
  bool overflow = false;
  for (const InotifyEvent& event : ParseInotifyEvents(bytes)) {
    if (event.mask & IN_Q_OVERFLOW) overflow = true;
    const auto it = uses_.find(event.watch);
    if (it == uses_.end()) continue;  // of a watch that is not needed any more
    if ((event.mask & kSelfMask) || event.name.empty()) {
      for (const auto& [name, numbers] : it->second) changed.insert(numbers.begin(), numbers.end());
      if (event.mask & IN_IGNORED) uses_.erase(it);  // the kernel has dropped the watch
      continue;
    }
    if (const auto next = it->second.find(event.name); next != it->second.end()) {
      changed.insert(next->second.begin(), next->second.end());
    }
    const auto itself = it->second.find("");
    if (itself == it->second.end()) continue;
    const std::vector<int> numbers = itself->second;  // to look may change it
    for (const int number : numbers) Look(number, event.name);
  }
  if (overflow) {
    overflows_.Add();
    spdlog::warn("the inotify queue overflowed: reading all watched directories again");
    EvaluateAll(true);
    return;
  }
  for (const int number : changed) Evaluate(number, false);
  ArmRetry();
  ReportDirectories();
}

void DirectoryWatcher::EvaluateAll(bool scan_always) {
  std::vector<int> numbers;
  for (const auto& [number, directory] : directories_) numbers.push_back(number);
  for (const int number : numbers) Evaluate(number, scan_always);
  ArmRetry();
  ReportDirectories();
}

void DirectoryWatcher::Evaluate(int number, bool scan_always) {
  const auto it = directories_.find(number);
  if (it == directories_.end()) return;  // its root has lost it meanwhile
  Directory& directory = it->second;
  retries_.erase(number);
  std::string problem;
  Way way;
  const int watch = WalkTo(number, &way, &problem);
  ReplaceWay(number, std::move(way));
  const bool changed = watch != directory.watch;
  directory.watch = watch;
  if (watch < 0) {
    if (changed && directory.entry.empty()) {
      spdlog::info("{} is not there", absl::CHexEscape(directory.path));
    }
    directory.left_out = directory.needs_scan = false;
    DropEntries(number, {});
  } else if (changed || scan_always || directory.needs_scan) {
    if (changed && specs_[directory.spec].optional) {
      spdlog::info("found {}: following its VMs", directory.path);
    }
    Scan(number, &problem);
  }
  SetProblem(&directory, std::move(problem));
}

int DirectoryWatcher::WalkTo(int number, Way* way, std::string* problem) {
  Directory& directory = directories_.at(number);
  const bool from_root = !directory.entry.empty();
  std::vector<std::string> ahead = ReversedComponents(
      from_root ? absl::StripPrefix(directory.path, directories_.at(directory.spec).path)
                : directory.path);
  std::string current = from_root ? directories_.at(directory.spec).resolved : "/";
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
      retries_.insert(number);
    }
    if (ahead.empty()) {
      directory.resolved = current;
      return watch;
    }
    ahead.pop_back();

    const std::string path = Join(current, next);
    struct stat status;
    if (lstat(path.c_str(), &status) != 0) {
      if (IsMissing(errno)) return -1;
      *problem = ErrnoText("look at", path, errno);
      retries_.insert(number);
      return -1;
    }
    if (S_ISLNK(status.st_mode)) {
      std::array<char, PATH_MAX> target;
      const ssize_t size = readlink(path.c_str(), target.data(), target.size());
      if (size <= 0 || ++links > kMaxLinks) return -1;
      const absl::string_view text(target.data(), static_cast<size_t>(size));
      for (std::string& name : ReversedComponents(text)) ahead.push_back(std::move(name));
      if (text.front() == '/') current = "/";
    } else if (S_ISDIR(status.st_mode) && status.st_nlink == 0) {
      *problem =
          absl::StrCat(absl::CHexEscape(path),
                       " was removed where it is mounted from, and a directory that was made "
                       "there since is not seen here: mount its parent instead");
      retries_.insert(number);
      return -1;
    } else if (S_ISDIR(status.st_mode)) {
      current = path;
    } else {
      return -1;
    }
  }
}

void DirectoryWatcher::ReplaceWay(int number, Way way) {
  for (const auto& [watch, next_name] : way) uses_[watch][next_name].push_back(number);
  std::swap(directories_.at(number).way, way);
  for (const auto& [watch, next_name] : way) {
    const auto uses = uses_.find(watch);
    if (uses == uses_.end()) continue;
    const auto numbers = uses->second.find(next_name);
    numbers->second.erase(std::find(numbers->second.begin(), numbers->second.end(), number));
    if (numbers->second.empty()) uses->second.erase(numbers);
    if (!uses->second.empty()) continue;
    uses_.erase(uses);
    inotify_rm_watch(inotify_.get(), watch);  // EINVAL: the kernel was first
  }
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
        "{} is a link to a socket, and such links are not followed: watch the directory "
        "of the socket itself",
        absl::CHexEscape(Join(directory->path, name)));
  }
  return false;
}

void DirectoryWatcher::Scan(int number, std::string* problem) {
  Directory& directory = directories_.at(number);
  if (directory.scanned) rescans_.Add();
  directory.scanned = true;
  directory.needs_scan = false;
  DIR* const stream = opendir(directory.path.c_str());
  if (stream == nullptr) {
    // Sockets that were there stay known: a full descriptor table removes none.
    const int error = errno;
    *problem = ErrnoText("read", directory.path, error);
    retries_.insert(number);
    directory.watch = -1;  // so that the retry scans
    return;
  }
  directory.left_out = false;
  const auto type = HasDirectories(directory) ? DT_DIR : DT_SOCK;
  absl::flat_hash_set<std::string> known;
  std::vector<std::string> fresh;
  while (const dirent* entry = NextEntry(stream)) {
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
    *problem = ErrnoText("read all of", directory.path, error);
    retries_.insert(number);
    directory.watch = -1;  // so that the retry scans
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
  if (directory.left_out) {  // there is room for another
    retries_.insert(number);
    directory.needs_scan = true;
  }
  if (!HasDirectories(directory)) {
    --directories_.at(directory.spec).sockets;
    return delegate_->OnSocketGone(directory.spec, BelowRoot(directory, name));
  }
  const auto it = directory.numbers.find(name);
  const int gone = it->second;
  directory.numbers.erase(it);
  DropEntries(gone, {});
  ReplaceWay(gone, {});
  retries_.erase(gone);
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

void DirectoryWatcher::ArmRetry() {
  if (retry_timer_.serial != 0 || retries_.empty()) return;
  loop_->SetTimerIn(&retry_timer_, kRetryInterval, [this] {
    const std::set<int> numbers = retries_;
    for (const int number : numbers) Evaluate(number, false);
    ArmRetry();
    ReportDirectories();
  });
}

void DirectoryWatcher::ArmCheck() {
  loop_->SetTimerIn(&check_timer_, kCheckInterval, [this] {
    std::vector<int> removed;
    for (const auto& [number, directory] : directories_) {
      struct stat status;
      if (directory.watch >= 0 && directory.entry.empty() &&
          lstat(directory.resolved.c_str(), &status) == 0 && status.st_nlink == 0) {
        removed.push_back(number);
      }
    }
    for (const int number : removed) Evaluate(number, false);
    ArmRetry();
    ReportDirectories();
    ArmCheck();
  });
}

bool DirectoryWatcher::any_present() const {
  return std::any_of(directories_.begin(), directories_.end(),
                     [](const auto& directory) { return directory.second.watch >= 0; });
}

void DirectoryWatcher::ReportDirectories() {
  std::vector<WatchedDirectory> now;
  for (int spec = 0; spec < static_cast<int>(specs_.size()); ++spec) {
    const Directory& root = directories_.at(spec);
    if (specs_[spec].optional && root.watch < 0) continue;
    now.push_back({EscapeNonUtf8(specs_[spec].directory), EscapeNonUtf8(specs_[spec].pattern()),
                   root.watch >= 0, root.sockets});
  }
  const auto same = [](const WatchedDirectory& a, const WatchedDirectory& b) {
    return a.present == b.present && a.sockets == b.sockets;
  };
  if (std::equal(now.begin(), now.end(), reported_.begin(), reported_.end(), same)) return;
  reported_ = now;
  delegate_->OnDirectories(std::move(now));
}

}  // namespace vmeventd
