#include "tests/simulation/kernel.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "watcher/qmp/directory_watcher.h"

namespace vmeventd::simulation {
namespace {

constexpr char kOwnDescriptors[] = "/proc/self/fd/";
constexpr char kCgroups[] = "/sys/fs/cgroup";

std::string Directory(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string NewBootId(Random* random) {
  return absl::StrFormat("%08x-0000-4000-8000-%012x", random->Next() & 0xffffffff,
                         random->Next() & 0xffffffffffff);
}

}  // namespace

Kernel* Kernel::current_ = nullptr;

Kernel::Kernel(Random* random, Features features)
    : random_(random), features_(features), boot_id_(NewBootId(random)) {
  current_ = this;
  disk_.set_fault([this](absl::string_view call, const std::string& path) {
    return Enter(call, path) ? 0 : errno;
  });
}

Kernel::~Kernel() { current_ = nullptr; }

int Kernel::Fail(int error) {
  errno = error;
  return -1;
}

bool Kernel::Enter(absl::string_view call, const std::string& what) {
  if (bystander_) return true;
  if (dead_) return Fail(EIO) == 0;
  if (call == target_.call && absl::EndsWith(what, target_.path_end)) {
    calls_left_ = target_.later + 1;
    target_ = {};
  }
  if (calls_left_ > 0 && --calls_left_ == 0) {
    Kill(absl::StrCat(call, " of ", what));
    return Fail(EIO) == 0;
  }
  if (call_fault_ != nullptr) {
    if (const int error = call_fault_(call, what); error != 0) return Fail(error) == 0;
  }
  return true;
}

void Kernel::Kill(absl::string_view where) {
  dead_ = true;
  calls_left_ = 0;
  target_ = {};
  killed_in_ = std::string(where);
}

void Kernel::BuryDaemon() {
  open_descriptors_ = 0;
  for (DescriptorPtr& descriptor : descriptors_) {
    if (descriptor == nullptr) continue;
    if (descriptor->kept) {
      ++open_descriptors_;
      continue;
    }
    if (descriptor->connection != nullptr) descriptor->connection->client_closed = true;
    descriptor = nullptr;
  }
  while (!descriptors_.empty() && descriptors_.back() == nullptr) descriptors_.pop_back();
  dead_ = false;
  calls_left_ = 0;
  target_ = {};
  loop_due_ = absl::ZeroDuration();
  if (KeptTrace() >= 0) return;
  traced_ = -1;
  signals_.clear();
}

void Kernel::Keep(int fd) {
  Descriptor* const descriptor = Find(fd);
  if (descriptor == nullptr) return;
  descriptor->kept = true;
  if (descriptor->connection != nullptr) descriptor->connection->kept = true;
}

void Kernel::PassKept(int fd) {
  if (fd >= 0) Find(fd)->kept = false;
}

void Kernel::DropKept() {
  for (size_t i = 0; i < descriptors_.size(); ++i) {
    if (descriptors_[i] == nullptr || !descriptors_[i]->kept) continue;
    if (kFirst + static_cast<int>(i) == KeptTrace()) continue;
    descriptors_[i]->kept = false;
    Close(kFirst + static_cast<int>(i));
  }
}

void Kernel::Reboot() {
  DropKept();
  if (const int trace = KeptTrace(); trace >= 0) {
    KeepTrace(false);
    Close(trace);
    traced_ = -1;
    signals_.clear();
  }
  processes_.clear();
  listeners_.clear();
  oom_kills_.clear();
  host_shutdowns_[monotonic_] = false;
  boot_id_ = NewBootId(random_);
  booted_ = monotonic_ - absl::Seconds(10);  // a boot takes that long
}

// Processes

ProcessPtr Kernel::Start(std::string cgroup) {
  auto process = std::make_shared<Process>();
  if (last_reaped_ != 0 && !processes_.contains(last_reaped_) && random_->OneIn(4)) {
    process->pid = last_reaped_;
  } else {
    do {  // few numbers, so that they are used again soon
      last_pid_ = last_pid_ >= 350 ? 301 : last_pid_ + 1;
    } while (processes_.contains(last_pid_));
    process->pid = last_pid_;
  }
  process->start_ticks = ticks();
  process->inode = ++last_process_inode_;
  process->cgroup = std::move(cgroup);
  processes_[process->pid] = process;
  return process;
}

void Kernel::Exit(const ProcessPtr& process, int wait_status) {
  process->state = Process::State::kZombie;
  process->wait_status = wait_status;
}

void Kernel::Record(SignalRecord record) {
  Descriptor* const rings = Find(traced_);
  if (rings == nullptr) return;
  record.time = since_boot();
  signals_.push_back(std::move(record));
  ++rings->counter;
}

void Kernel::SendSignal(const ProcessPtr& process, int signal, int64_t sender,
                        const std::string& command) {
  if (process->state != Process::State::kLives) return;
  // The QEMU's user, who is not the one that sends the signal.
  constexpr ProcessMark kQemu{.uid = 107, .cgroup = 2};
  SignalRecord record{
      .target = process->pid, .signal = signal, .by_kernel = sender == 0, .sender = sender};
  record.sender_mark = sender == process->pid ? kQemu : ProcessMark{.uid = 0, .cgroup = 1};
  record.sender_comm = command;
  record.target_mark = kQemu;
  Record(std::move(record));
}

void Kernel::NameVictim(const ProcessPtr& process) {
  if (process->state != Process::State::kLives) return;
  Record({.kind = SignalRecord::Kind::kOomVictim, .target = process->pid});
}

int Kernel::TraceSignals() {
  traced_ = EventFd();
  if (traced_ >= 0) ++rings_;
  return traced_;
}

void Kernel::KeepTrace(bool keeps) {
  if (Descriptor* const ring = Find(traced_); ring != nullptr) ring->kept = keeps;
}

int Kernel::KeptTrace() const {
  const Descriptor* const ring = Find(traced_);
  return ring != nullptr && ring->kept ? traced_ : -1;
}

void Kernel::ReadSignals(std::vector<SignalRecord>* out) {
  if (EventFdRead(traced_) != 0) return;
  out->insert(out->end(), signals_.begin(), signals_.end());
  signals_.clear();
}

void Kernel::SetHostShutdown(bool shutting_down) {
  host_shutdowns_[monotonic_] = shutting_down;
  if (Descriptor* const watch = Find(host_watch_); watch != nullptr) ++watch->counter;
}

int Kernel::WatchHostShutdown() {
  host_watch_ = EventFd();
  return host_watch_;
}

bool Kernel::AskHostShutdown() {
  EventFdRead(host_watch_);
  return host_shutdowns_.rbegin()->second;
}

bool Kernel::HostWas(bool shutting_down, absl::Duration from, absl::Duration to) const {
  for (auto it = std::prev(host_shutdowns_.upper_bound(from));
       it != host_shutdowns_.end() && it->first <= to; ++it) {
    if (it->second == shutting_down) return true;
  }
  return false;
}

void Kernel::Reap(const ProcessPtr& process) {
  process->state = Process::State::kReaped;
  process->reaped_at = monotonic();
  last_reaped_ = process->pid;
  const auto it = processes_.find(process->pid);
  if (it != processes_.end() && it->second == process) processes_.erase(it);
}

ProcessPtr Kernel::Living(int64_t pid) const {
  const auto it = processes_.find(pid);
  return it == processes_.end() ? nullptr : it->second;
}

std::string Kernel::OomCounterOf(const std::string& cgroup) {
  return absl::StrCat(kCgroups, cgroup, "/memory.events");
}

void Kernel::CountOomKill(const std::string& cgroup) {
  ++oom_kills_[cgroup];
  Notify(OomCounterOf(cgroup), IN_MODIFY);
}

// Sockets

ListenerPtr Kernel::Bind(const std::string& path, const ProcessPtr& process) {
  auto listener = std::make_shared<Listener>();
  listener->process = process;
  listener->file = disk_.Make(path, S_IFSOCK | 0755, wall_ns());
  listeners_[listener->file->inode] = listener;
  Notify(path, IN_CREATE);
  return listener;
}

void Kernel::CloseListener(const ListenerPtr& listener) {
  listener->listening = false;
  for (const ConnectionPtr& connection : listener->waiting) CloseServer(connection);
  listener->waiting.clear();
}

void Kernel::Unlink(const std::string& path) {
  if (disk_.Unlink(path)) Notify(path, IN_DELETE);
}

ConnectionPtr Kernel::ConnectAsManager(const ListenerPtr& listener) {
  if (!listener->listening || listener->waiting.size() > listener->backlog) return nullptr;
  auto connection = std::make_shared<Connection>();
  listener->waiting.push_back(connection);
  return connection;
}

void Kernel::Send(const ConnectionPtr& connection, absl::string_view bytes, int64_t sender) {
  if (bytes.empty() || connection->client_closed || connection->server_closed) return;
  connection->to_client.push_back({std::string(bytes), sender});
  connection->sent += bytes.size();
}

void Kernel::CloseServer(const ConnectionPtr& connection) {
  connection->server_closed = true;
  connection->reset = !connection->to_server.empty();
}

// Descriptors

bool Kernel::HasRoom(absl::string_view call, const std::string& what) const {
  if (dead_ || bystander_ || descriptor_fault_ == nullptr) return true;
  const int error = descriptor_fault_(call, what);
  if (error == 0) return true;
  refused_at_ = monotonic_;
  return Fail(error) == 0;
}

int Kernel::Add(Descriptor descriptor) {
  ++open_descriptors_;
  auto free = std::find(descriptors_.begin(), descriptors_.end(), nullptr);
  if (free == descriptors_.end()) free = descriptors_.insert(free, nullptr);
  *free = std::make_shared<Descriptor>(std::move(descriptor));
  return kFirst + static_cast<int>(free - descriptors_.begin());
}

Kernel::Descriptor* Kernel::Find(int fd) const {
  const auto index = static_cast<size_t>(fd - kFirst);
  return fd < kFirst || index >= descriptors_.size() ? nullptr : descriptors_[index].get();
}

Kernel::Descriptor* Kernel::Get(int fd, Descriptor::Kind kind) const {
  Descriptor* const descriptor = Find(fd);
  if (descriptor != nullptr && descriptor->kind == kind) return descriptor;
  errno = EBADF;
  return nullptr;
}

std::string Kernel::PathOf(int fd) const {
  const Descriptor* const descriptor = Find(fd);
  return descriptor == nullptr ? "" : descriptor->path;
}

std::optional<std::string> Kernel::SystemFile(const std::string& path) const {
  if (path == "/proc/sys/kernel/random/boot_id") return boot_id_ + "\n";
  if (path == "/proc/self/mountinfo") {
    return absl::StrCat("22 1 0:20 / / rw - ext4 /dev/root rw\n25 22 0:21 / ", kCgroups,
                        " rw - cgroup2 cgroup2 rw\n");
  }
  absl::string_view rest = path;
  if (absl::ConsumePrefix(&rest, kCgroups)) {
    if (!absl::ConsumeSuffix(&rest, "/memory.events")) return std::nullopt;
    const auto it = oom_kills_.find(std::string(rest));
    return absl::StrCat("low 0\noom_kill ", it == oom_kills_.end() ? 0 : it->second, "\n");
  }
  if (!absl::ConsumePrefix(&rest, "/proc/")) return std::nullopt;
  if (absl::ConsumePrefix(&rest, "self/fdinfo/")) {
    int fd = -1;
    const Descriptor* const pidfd = absl::SimpleAtoi(rest, &fd) ? Find(fd) : nullptr;
    if (pidfd == nullptr || pidfd->process == nullptr) return std::nullopt;
    const bool reaped = pidfd->process->state == Process::State::kReaped;
    return absl::StrCat("pos:\t0\nPid:\t", reaped ? -1 : pidfd->process->pid, "\n");
  }
  const size_t slash = rest.find('/');
  int64_t pid = 0;
  if (slash == absl::string_view::npos || !absl::SimpleAtoi(rest.substr(0, slash), &pid)) {
    return std::nullopt;
  }
  const ProcessPtr process = Living(pid);
  if (process == nullptr) return std::nullopt;
  const absl::string_view file = rest.substr(slash + 1);
  const bool zombie = process->state == Process::State::kZombie;
  if (file == "stat") {
    const unsigned flags = zombie ? 0x40400cU : 0x400000U;
    const int code = zombie && features_.reads_zombies ? process->wait_status : 0;
    std::string text =
        absl::StrCat(pid, " (", process->program, ") ", zombie ? "Z" : "S", " 1 1 1 0 -1 ", flags);
    for (int field = 10; field < 22; ++field) absl::StrAppend(&text, " 0");
    absl::StrAppend(&text, " ", process->start_ticks);
    for (int field = 23; field < 52; ++field) absl::StrAppend(&text, " 0");
    return absl::StrCat(text, " ", code, "\n");
  }
  if (file == "status") {
    return absl::StrCat("SigPnd:\t", process->killed ? "0000000000000100" : "0000000000000000",
                        "\nShdPnd:\t0000000000000000\n");
  }
  if (file == "cmdline") return zombie ? "" : process->command_line;
  if (file == "cgroup") return absl::StrCat("0::", process->cgroup, "\n");
  return std::nullopt;
}

int Kernel::Open(const std::string& path, int flags, mode_t mode) {
  absl::string_view number = path;
  int fd = -1;
  if (absl::ConsumePrefix(&number, kOwnDescriptors) && absl::SimpleAtoi(number, &fd)) {
    return Open(PathOf(fd), flags, mode);
  }
  if (path == "/dev/null") return dead_ ? Fail(EIO) : OpenUnused(path);
  if (!Enter("open", path) || !HasRoom("open", path)) return -1;
  if (path == "/proc") return OpenUnused(path);
  if (absl::StartsWith(path, "/proc/") || absl::StartsWith(path, "/sys/")) {
    std::optional<std::string> text = SystemFile(path);
    if (!text.has_value()) return Fail(ENOENT);
    return Add({.kind = Descriptor::Kind::kText, .path = path, .text = *std::move(text)});
  }
  Disk::FilePtr file = disk_.Find(path);
  if (file == nullptr) {
    if ((flags & O_CREAT) == 0) return Fail(ENOENT);
    if (disk_.Find(Directory(path)) == nullptr) return Fail(ENOENT);
    file = disk_.Make(path, S_IFREG | mode, wall_ns());
    Notify(path, IN_CREATE);
  } else if ((flags & O_CREAT) != 0 && (flags & O_EXCL) != 0) {
    return Fail(EEXIST);
  }
  if ((flags & O_DIRECTORY) != 0 && !S_ISDIR(file->mode)) return Fail(ENOTDIR);
  const bool is_path = (flags & O_PATH) != 0;
  return Add({.kind = is_path ? Descriptor::Kind::kPath : Descriptor::Kind::kFile,
              .path = path,
              .file = std::move(file)});
}

size_t Kernel::vm_descriptors() const {
  return static_cast<size_t>(
      std::count_if(descriptors_.begin(), descriptors_.end(), [](const DescriptorPtr& each) {
        return each != nullptr &&
               (each->connection != nullptr || each->kind == Descriptor::Kind::kPidfd);
      }));
}

int Kernel::OpenUnused(const std::string& path) {
  return HasRoom("open", path) ? Add({.path = path}) : -1;
}

int Kernel::Close(int fd) {
  Descriptor* const closed = Find(fd);
  if (closed == nullptr) return Fail(EBADF);
  if (dead_ && closed->kept) return 0;  // the service manager has it still
  // A killed process closes what it had.
  if (closed->connection != nullptr) closed->connection->client_closed = true;
  descriptors_[static_cast<size_t>(fd - kFirst)] = nullptr;
  --open_descriptors_;
  for (const DescriptorPtr& other : descriptors_) {
    if (other != nullptr) other->watched.erase(fd);
  }
  return 0;
}

ssize_t Kernel::Read(int fd, void* to, size_t size) {
  Descriptor* const found = Find(fd);
  if (found == nullptr) return Fail(EBADF);
  Descriptor& descriptor = *found;
  if (!Enter("read", descriptor.path)) return -1;
  if (descriptor.kind == Descriptor::Kind::kInotify) {
    if (descriptor.events.empty()) return Fail(EAGAIN);
    size_t used = 0;
    while (!descriptor.events.empty() && used + descriptor.events.front().size() <= size) {
      used += descriptor.events.front().copy(static_cast<char*>(to) + used, size - used);
      descriptor.events.pop_front();
    }
    if (descriptor.events.empty()) descriptor.queue_full = false;
    return static_cast<ssize_t>(used);
  }
  const std::string& content =
      descriptor.kind == Descriptor::Kind::kText ? descriptor.text : descriptor.file->content;
  const size_t begin = std::min(descriptor.offset, content.size());
  const size_t there = content.copy(static_cast<char*>(to), size, begin);
  descriptor.offset += there;
  return static_cast<ssize_t>(there);
}

ssize_t Kernel::PositionedRead(int fd, void* to, size_t size, off_t at) {
  Descriptor* const descriptor = Get(fd, Descriptor::Kind::kFile);
  if (descriptor == nullptr || !Enter("read", descriptor->path)) return -1;
  const std::string& content = descriptor->file->content;
  const size_t begin = std::min(static_cast<size_t>(at), content.size());
  return static_cast<ssize_t>(content.copy(static_cast<char*>(to), size, begin));
}

ssize_t Kernel::PositionedWrite(int fd, const void* from, size_t size, off_t at) {
  Descriptor* const descriptor = Get(fd, Descriptor::Kind::kFile);
  if (descriptor == nullptr) return -1;
  const int error = disk_.Write(descriptor->path, descriptor->file.get(), static_cast<size_t>(at),
                                absl::string_view(static_cast<const char*>(from), size));
  return error == 0 ? static_cast<ssize_t>(size) : Fail(error);
}

int Kernel::Sync(int fd) {
  Descriptor* const descriptor = Get(fd, Descriptor::Kind::kFile);
  if (descriptor == nullptr) return -1;
  const bool directory = S_ISDIR(descriptor->file->mode);
  const int error = disk_.Sync(descriptor->path, directory ? nullptr : descriptor->file.get());
  return error == 0 ? 0 : Fail(error);
}

Disk::FilePtr Kernel::Look(int directory, const std::string& path) {
  if (path.empty()) {
    const Descriptor* const descriptor = Find(directory);
    if (descriptor == nullptr) Fail(EBADF);
    return descriptor == nullptr ? nullptr : descriptor->file;
  }
  const std::string whole = path.front() == '/' ? path : absl::StrCat(PathOf(directory), "/", path);
  if (!Enter("stat", whole)) return nullptr;
  Disk::FilePtr file = disk_.Find(whole);
  if (file == nullptr) Fail(ENOENT);
  return file;
}

int Kernel::UnlinkFile(const std::string& path) {
  if (!Enter("unlink", path)) return -1;
  if (disk_.Find(path) == nullptr) return Fail(ENOENT);
  Unlink(path);
  return 0;
}

int Kernel::Rename(const std::string& from, const std::string& to) {
  if (!Enter("rename", from)) return -1;
  return disk_.Rename(from, to) ? 0 : Fail(ENOENT);
}

int Kernel::Touch(absl::string_view path) {
  int fd = -1;
  if (!absl::ConsumePrefix(&path, kOwnDescriptors) || !absl::SimpleAtoi(path, &fd)) {
    return Fail(ENOENT);
  }
  const Descriptor* const descriptor = Find(fd);
  if (descriptor == nullptr) return Fail(EBADF);
  if (!Enter("utimensat", descriptor->path)) return -1;
  descriptor->file->modify_ns = wall_ns();
  return 0;
}

int Kernel::ChangeMode(int fd, mode_t mode) {
  Descriptor* const descriptor = Get(fd, Descriptor::Kind::kFile);
  if (descriptor == nullptr || !Enter("fchmod", descriptor->path)) return -1;
  descriptor->file->mode = (descriptor->file->mode & S_IFMT) | mode;
  return 0;
}

std::vector<std::string> Kernel::ListDirectory(const std::string& path) {
  std::vector<std::string> names = disk_.List(path);
  if (path == "/proc") {
    for (const auto& [pid, process] : processes_) names.push_back(absl::StrCat(pid));
  }
  random_->Shuffle(&names);
  return names;
}

ssize_t Kernel::ReadLink(const std::string& path, char* to, size_t size) {
  if (!Enter("readlink", path)) return -1;
  if (!absl::EndsWith(path, "/ns/user")) return Fail(EINVAL);
  if (!features_.reads_zombies) return Fail(EACCES);
  return snprintf(to, size, "user:[1]");
}

}  // namespace vmeventd::simulation
