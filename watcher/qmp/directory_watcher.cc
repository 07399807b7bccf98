#include "watcher/qmp/directory_watcher.h"

#include <sys/epoll.h>
#include <sys/inotify.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/strip.h"
#include "spdlog/spdlog.h"
#include "watcher/core/foreign_text.h"
#include "watcher/core/managers.h"
#include "watcher/core/problem.h"

namespace vmeventd {
namespace {

constexpr uint32_t kSelfMask = IN_DELETE_SELF | IN_MOVE_SELF | IN_IGNORED | IN_UNMOUNT;
constexpr absl::Duration kRetryInterval = absl::Seconds(1);
// Interval of the checks of a root; every fifth check covers all directories.
constexpr absl::Duration kCheckInterval = absl::Seconds(2);
constexpr int kRootChecks = 5;
// Maximum number of sockets in the directory of one VM.
constexpr size_t kMaxSocketsOfVm = 16;
constexpr size_t kReadBytes = 64 << 10;

constexpr char kTooMany[] = "it has more sockets than vmeventd follows in one directory";
constexpr char kHangs[] =
    "its file system has not answered for 5 s: its VMs are not found or connected to until it does";

}  // namespace

absl::StatusOr<std::unique_ptr<DirectoryWatcher>> DirectoryWatcher::Create(
    EventLoop* loop, std::vector<WatchSpec> specs, std::vector<DirectoryThread*> threads,
    Delegate* delegate, size_t max_sockets) {
  UniqueFd inotify(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  if (!inotify.valid()) {
    return absl::ErrnoToStatus(
        errno, "cannot create an inotify instance (see fs.inotify.max_user_instances)");
  }
  std::unique_ptr<DirectoryWatcher> watcher(new DirectoryWatcher(
      loop, std::move(specs), std::move(threads), delegate, max_sockets, std::move(inotify)));
  if (absl::Status status = loop->Add(watcher->inotify_->get(), EPOLLIN, watcher.get());
      !status.ok()) {
    return status;
  }
  return watcher;
}

DirectoryWatcher::DirectoryWatcher(EventLoop* loop, std::vector<WatchSpec> specs,
                                   std::vector<DirectoryThread*> threads, Delegate* delegate,
                                   size_t max_sockets, UniqueFd inotify)
    : loop_(loop),
      threads_(std::move(threads)),
      delegate_(delegate),
      inotify_(std::make_shared<UniqueFd>(std::move(inotify))),
      specs_(std::move(specs)),
      progress_(specs_.size()),
      last_number_(static_cast<int>(specs_.size()) - 1) {
  for (int spec = 0; spec <= last_number_; ++spec) {
    directories_.try_emplace(spec, spec, specs_[spec].root(), max_sockets);
  }
}

DirectoryWatcher::~DirectoryWatcher() {
  loop_->CancelTimer(&retry_timer_);
  loop_->CancelTimer(&check_timer_);
  loop_->Remove(inotify_->get());
}

LookTarget DirectoryWatcher::TargetOf(const Directory& directory) const {
  return {.path = directory.path,
          .spec = spec(directory),
          .has_directories = HasDirectories(directory)};
}

void DirectoryWatcher::Start() {
  EvaluateAll(true);
  CheckLater();
}

void DirectoryWatcher::WarnOf(const Directory& root) const {
  if (root.sockets == 0 && !root.unmatched.empty()) WarnOfPattern(root);
  if (root.watch >= 0 || !root.problem.empty()) return;
  if (spec(root).optional) {
    spdlog::info("{} does not exist: its VMs are followed once it does", root.path);
    return;
  }
  spdlog::warn(
      "{} does not exist: its VMs are followed once it does; check --watch if it should exist",
      absl::CHexEscape(root.path));
}

void DirectoryWatcher::WarnOfPattern(const Directory& root) const {
  const WatchSpec& watched = spec(root);
  std::string hint;
  if (!watched.has_directories()) {
    const size_t dot = root.unmatched.rfind('.');
    const WatchSpec other = {watched.directory,
                             "*" + root.unmatched.substr(std::min(dot, root.unmatched.size()))};
    if (!FindManagerMonitors(other).has_value()) {
      hint = absl::StrCat(": if it is a monitor of a VM, write --watch '",
                          absl::CHexEscape(other.text()), "'");
    }
  }
  spdlog::warn("no socket in {} matches {}, but {} exists{}", absl::CHexEscape(watched.directory),
               absl::CHexEscape(watched.pattern), absl::CHexEscape(root.unmatched), hint);
}

void DirectoryWatcher::OnFdReady(uint32_t) {
  std::array<char, kReadBytes> buffer;
  const ssize_t size = read(inotify_->get(), buffer.data(), buffer.size());
  if (size > 0) Dispatch(absl::string_view(buffer.data(), static_cast<size_t>(size)));
}

void DirectoryWatcher::Dispatch(absl::string_view bytes) {
  std::vector<int> changed;
  std::map<int, std::set<std::string>> names;  // names of entries, by directory
  bool overflow = false;
  inotify_event event;
  while (bytes.size() >= sizeof(event)) {
    std::memcpy(&event, bytes.data(), sizeof(event));
    const absl::string_view padded = bytes.substr(sizeof(event), event.len);  // with zero bytes
    const std::string name(padded.substr(0, padded.find('\0')));
    bytes.remove_prefix(sizeof(event) + padded.size());
    if (event.mask & IN_Q_OVERFLOW) overflow = true;
    const auto it = users_.find(event.wd);
    if (it == users_.end()) {
      // The watch is not needed any more, or a look that is under way has just set it.
      for (auto& [number, directory] : directories_) {
        if (directory.looking) directory.look_again = directory.needs_scan = true;
      }
      continue;
    }
    const std::vector<int>& numbers = it->second;
    if ((event.mask & kSelfMask) || name.empty()) {
      changed.insert(changed.end(), numbers.begin(), numbers.end());
      if (event.mask & IN_IGNORED) users_.erase(it);  // the kernel has dropped the watch
      continue;
    }
    for (const int number : numbers) names[number].insert(name);
  }
  if (overflow) {
    overflows_.Add();
    spdlog::warn("the inotify queue overflowed: reading all watched directories again");
    return EvaluateAll(true);
  }
  for (auto& [number, of_directory] : names) LookAt(number, std::move(of_directory));
  for (const int number : changed) Evaluate(number, false);
}

void DirectoryWatcher::EvaluateAll(bool scan_always) {
  std::vector<int> numbers;
  for (const auto& [number, directory] : directories_) numbers.push_back(number);
  for (const int number : numbers) Evaluate(number, scan_always);
}

void DirectoryWatcher::OnHangChange(int spec) {
  Directory& root = directories_.at(spec);
  if (threads_[spec]->hangs()) {
    progress_[spec].read = false;
    SetProblem(&root, kHangs);
    return ReportDirectories();
  }
  spdlog::info("the directory {} responds again: reading it", absl::CHexEscape(root.path));
  std::vector<int> numbers;
  for (const auto& [number, directory] : directories_) {
    if (directory.spec == spec) numbers.push_back(number);
  }
  for (const int number : numbers) Evaluate(number, true);
  ReportDirectories();
}

template <typename Look>
void DirectoryWatcher::BeginLook(int number, Directory* directory, std::function<Look()> look,
                                 void (DirectoryWatcher::*on_seen)(int number, const Look& look)) {
  const int spec = directory->spec;
  directory->looking = true;
  directory->look_again = false;
  ++progress_[spec].looks;
  threads_[spec]->Run(
      [this, number, spec, on_seen, look = std::move(look)]() -> DirectoryThread::Then {
        return [this, number, spec, on_seen, seen = std::make_unique<Look>(look())] {
          (this->*on_seen)(number, *seen);
          AfterLook(spec, number);
        };
      },
      [this, number, spec] {
        if (Directory* const dropped = EndLook(number)) dropped->needs_scan = true;
        AfterLook(spec, number);
      });
}

DirectoryWatcher::Directory* DirectoryWatcher::EndLook(int number) {
  const auto it = directories_.find(number);
  if (it == directories_.end()) return nullptr;
  it->second.looking = false;
  return &it->second;
}

void DirectoryWatcher::AfterLook(int spec, int number) {
  const auto it = directories_.find(number);
  if (it != directories_.end() && it->second.look_again) Evaluate(number, false);
  Progress& progress = progress_[spec];
  if (--progress.looks > 0) return;
  ReportDirectories();
  if (threads_[spec]->hangs() || std::exchange(progress.read, true)) return;
  if (!std::exchange(progress.ever_read, true)) WarnOf(directories_.at(spec));
  delegate_->OnRead(spec);
}

void DirectoryWatcher::Evaluate(int number, bool scan_always) {
  const auto it = directories_.find(number);
  if (it == directories_.end()) return;  // its root has lost it meanwhile
  Directory& directory = it->second;
  directory.needs_scan |= scan_always;
  if (threads_[directory.spec]->hangs()) return;  // once it answers
  if (directory.looking) {
    directory.look_again = true;
    return;
  }
  std::optional<ScanRequest> request;
  if (std::exchange(directory.needs_scan, false) || directory.watch < 0) {
    // One entry beyond the limit shows that the directory has more.
    request = ScanRequest{.known = directory.entries, .max_fresh = directory.max_entries + 1};
  }
  BeginLook<DirectoryLook>(
      number, &directory,
      [inotify = inotify_, target = TargetOf(directory), request = std::move(request)] {
        return LookAtDirectory(inotify->get(), target, request);
      },
      &DirectoryWatcher::OnEvaluated);
}

void DirectoryWatcher::OnEvaluated(int number, const DirectoryLook& look) {
  Directory* const directory = EndLook(number);
  if (directory == nullptr) return DropWatchIfUnused(look.watch);
  const bool changed = look.watch != directory->watch;
  SetWatch(number, look.watch);
  std::string problem = look.problem;
  if (look.watch < 0) {
    if (changed && directory->entry.empty()) {
      spdlog::info("{} does not exist", absl::CHexEscape(directory->path));
    }
    directory->left_out = directory->needs_scan = false;
    DropEntries(number, {});
    RetryLater();
  } else if (look.scan.has_value()) {
    if (changed && spec(*directory).optional) {
      spdlog::info("found {}: following its VMs", directory->path);
    }
    OnScan(number, *look.scan, &problem);
  } else {
    if (changed) Evaluate(number, true);
    return;
  }
  SetProblem(directory, std::move(problem));
}

void DirectoryWatcher::OnScan(int number, const DirectoryScan& scan, std::string* problem) {
  Directory& directory = directories_.at(number);
  if (std::exchange(directory.scanned, true)) rescans_.Add();
  directory.unreadable = !scan.opened;
  // Sockets that were there stay known: a full descriptor table removes none.
  if (!scan.opened) return ScanLater(&directory);
  directory.left_out = false;
  if (!scan.unmatched.empty()) directories_.at(directory.spec).unmatched = scan.unmatched;
  WarnOfLink(&directory, scan.link);
  if (scan.complete) {
    absl::flat_hash_set<std::string> known;
    for (const SeenEntry& entry : scan.known) known.insert(entry.name);
    DropEntries(number, known);
  } else {
    ScanLater(&directory);  // sockets that were not listed may be there all the same
  }
  for (const SeenEntry& entry : scan.known) OnEntry(number, entry);
  for (const SeenEntry& entry : scan.fresh) {
    if (AddEntry(&directory, entry.name)) OnEntry(number, entry);
  }
  if (directory.left_out && problem->empty()) *problem = kTooMany;
}

void DirectoryWatcher::WarnOfLink(Directory* directory, const std::string& name) {
  if (name.empty() || std::exchange(directory->link_logged, true)) return;
  spdlog::warn(
      "{} is a symbolic link to a socket, which is not followed: watch the directory of the "
      "socket itself",
      absl::CHexEscape(EntryPath(directory->path, name)));
}

void DirectoryWatcher::LookAt(int number, std::set<std::string> names) {
  const auto it = directories_.find(number);
  if (it == directories_.end()) return;
  Directory& directory = it->second;
  // The present state counts, whatever the events reported: later events are in the queue.
  if (directory.looking || threads_[directory.spec]->hangs()) return Evaluate(number, true);
  BeginLook<EntriesLook>(
      number, &directory,
      [target = TargetOf(directory), names = std::move(names)] {
        return LookAtEntries(target, names);
      },
      &DirectoryWatcher::OnLookedAt);
}

void DirectoryWatcher::OnLookedAt(int number, const EntriesLook& look) {
  Directory* const directory = EndLook(number);
  if (directory == nullptr) return;
  WarnOfLink(directory, look.link);
  for (const std::string& name : look.gone) RemoveEntry(number, name);
  for (const SeenEntry& entry : look.there) {
    if (AddEntry(directory, entry.name)) {
      OnEntry(number, entry);
    } else {
      SetProblem(directory, kTooMany);
    }
  }
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
  DropWatchIfUnused(before);
}

void DirectoryWatcher::DropWatchIfUnused(int watch) {
  if (watch < 0 || users_.contains(watch)) return;
  inotify_rm_watch(inotify_->get(), watch);  // EINVAL: the kernel was first
}

std::string DirectoryWatcher::BelowRoot(const Directory& directory, const std::string& name) const {
  const std::string path = EntryPath(directory.path, name);
  return std::string(absl::StripPrefix(path, spec(directory).PathOf("")));
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

void DirectoryWatcher::OnEntry(int number, const SeenEntry& entry) {
  Directory& directory = directories_.at(number);
  if (!HasDirectories(directory)) {
    return delegate_->OnSocket(directory.spec, BelowRoot(directory, entry.name), entry.socket);
  }
  const auto [it, is_new] = directory.numbers.try_emplace(entry.name, last_number_ + 1);
  if (is_new) {
    directories_
        .try_emplace(++last_number_, directory.spec, *spec(directory).DirectoryOf(entry.name),
                     kMaxSocketsOfVm)
        .first->second.entry = entry.name;
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

void DirectoryWatcher::SetProblem(Directory* directory, std::string problem) {
  if (problem == directory->problem) return;
  if (!problem.empty()) {
    spdlog::warn("cannot watch {}: {}; trying again", absl::CHexEscape(directory->path), problem);
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
  });
}

void DirectoryWatcher::CheckLater() {
  loop_->SetTimerIn(&check_timer_, kCheckInterval, [this] {
    if (++checks_ % kRootChecks == 0) {
      EvaluateAll(false);
    } else {
      for (int spec = 0; spec < static_cast<int>(threads_.size()); ++spec) Evaluate(spec, false);
    }
    CheckLater();
  });
}

bool DirectoryWatcher::any_present() const {
  return std::any_of(directories_.begin(), directories_.end(), [this](const auto& entry) {
    return entry.second.present() && !threads_[entry.second.spec]->hangs();
  });
}

void DirectoryWatcher::ReportDirectories() {
  std::vector<v1::WatchedDirectory> now;
  for (const auto& [number, root] : directories_) {
    if (!root.entry.empty()) continue;
    const WatchSpec& spec = this->spec(root);
    const bool hangs = threads_[root.spec]->hangs();
    if (spec.optional && root.watch < 0 && !hangs) continue;
    v1::WatchedDirectory& directory = now.emplace_back();
    directory.set_path(EscapeNonUtf8(spec.directory));
    directory.set_pattern(EscapeNonUtf8(spec.pattern));
    directory.set_present(root.present() && !hangs);
    directory.set_sockets(root.sockets);
    if (hangs)
      *directory.mutable_problem() = ToProto(Problem{ProblemCode::kDirectoryHangs, kHangs});
  }
  const auto same = [](const v1::WatchedDirectory& a, const v1::WatchedDirectory& b) {
    return a.present() == b.present() && a.sockets() == b.sockets() &&
           a.has_problem() == b.has_problem();
  };
  if (std::equal(now.begin(), now.end(), reported_.begin(), reported_.end(), same)) return;
  reported_ = now;
  delegate_->OnDirectories(std::move(now));
}

}  // namespace vmeventd
