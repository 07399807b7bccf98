#include "watcher/libvirt/domain_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "base/small_file.h"
#include "base/unique_fd.h"

namespace vmeventd {
namespace {

constexpr size_t kMaxPidFile = 64;
// virtlogd begins a new file at 2 MiB. Of a longer one nothing is known.
constexpr size_t kMaxLog = 4 << 20;
// libvirt notes a start before it starts the process, which may take a while.
constexpr absl::Duration kMaxStart = absl::Seconds(10);
// Error by which a process may seem to have begun later than it did: its start is kept in ticks of
// 10 ms since the boot, which itself is known by the clock of now.
constexpr absl::Duration kStartError = absl::Seconds(1);
// Longest wait for a process's command line. Most take some microseconds.
constexpr absl::Duration kMaxWait = absl::Milliseconds(100);
// Interval in which a look at all processes sees whether that has come, and the number that it asks
// at once.
constexpr absl::Duration kReadInterval = absl::Milliseconds(1);
constexpr size_t kReadsAtOnce = 256;
static_assert(kReadsAtOnce < CommandLines::kMaxWaiting);

std::string UserRuntimeDirectory() {
  if (const char* const directory = std::getenv("XDG_RUNTIME_DIR"); directory != nullptr) {
    return directory;
  }
  const char* const home = std::getenv("HOME");
  return absl::StrCat(home == nullptr ? "" : home, "/.cache");
}

// The file is written by libvirt, in a directory that a container may own: whatever has the name by
// now, only a regular file is opened for reading. (open() acts on a device or a FIFO.)
absl::StatusOr<std::string> ReadRegularFile(const std::string& path, size_t max_bytes,
                                            absl::Time* written) {
  const UniqueFd there(open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!there.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  struct stat status {};
  if (fstat(there.get(), &status) != 0) return absl::ErrnoToStatus(errno, "fstat");
  if (!S_ISREG(status.st_mode)) return absl::FailedPreconditionError("no regular file");
  if (written != nullptr) *written = absl::TimeFromTimespec(status.st_mtim);
  return ReadSmallFile(absl::StrCat("/proc/self/fd/", there.get()), max_bytes);
}

// `word` is libvirt's, or QEMU's own.
std::optional<DomainLifecycle> LoggedEnd(absl::string_view word) {
  const auto* const known = std::find(std::begin(kEndWords), std::end(kEndWords), word);
  if (known == std::end(kEndWords)) return std::nullopt;
  DomainLifecycle end = Stopped(static_cast<ManagerEnd>(known - kEndWords + 1), "shut off, ");
  end.text += ", by its log";
  return end;
}

PeerProcess Gone(int64_t pid) { return {.kind = PeerProcess::Kind::kGone, .pid = pid}; }

// 0: it cannot be read.
uint64_t PidNamespaceOf(int64_t pid) {
  struct stat status {};
  return stat(absl::StrCat("/proc/", pid, "/ns/pid").c_str(), &status) == 0 ? status.st_ino : 0;
}

std::vector<int64_t> PidsOf(uint64_t pid_namespace) {
  std::vector<int64_t> pids;
  DIR* const list = opendir("/proc");
  if (list == nullptr) return pids;
  while (const dirent* const entry = readdir(list)) {
    int64_t pid = 0;
    if (absl::SimpleAtoi(entry->d_name, &pid) && PidNamespaceOf(pid) == pid_namespace) {
      pids.push_back(pid);
    }
  }
  closedir(list);
  return pids;
}

// Reads the -uuid of each process's command line, where it answers within kMaxWait of being asked,
// kReadsAtOnce at a time.
absl::flat_hash_map<int64_t, std::string> ReadUuids(const std::vector<int64_t>& pids,
                                                    CommandLines* command_lines) {
  absl::flat_hash_map<int64_t, std::string> uuids;
  for (size_t next = 0; next < pids.size();) {
    std::vector<std::pair<int64_t, std::shared_ptr<const CommandLines::Read>>> reads;
    for (; next < pids.size() && reads.size() < kReadsAtOnce; ++next) {
      reads.emplace_back(pids[next], command_lines->Begin(pids[next]));
    }
    int64_t looks = kMaxWait / kReadInterval;
    for (const auto& [pid, read] : reads) {
      for (; !read->done() && looks > 0; --looks) absl::SleepFor(kReadInterval);
      if (read->done() && !read->uuid().empty()) uuids[pid] = read->uuid();
    }
  }
  return uuids;
}

}  // namespace

std::string PidDirectory(const LibvirtSpec& spec, const std::string& socket) {
  std::string base = spec.session ? UserRuntimeDirectory() + "/libvirt" : "/run/libvirt";
  if (!socket.empty()) base = socket.substr(0, socket.rfind('/'));
  if (spec.containers) return absl::StrCat(base, "/lxc");
  return absl::StrCat(base, spec.session ? "/qemu/run" : "/qemu");
}

int64_t LibvirtdBegan(const std::string& pid_directory) {
  struct stat status {};
  if (stat(absl::StrCat(pid_directory, "/driver.pid").c_str(), &status) != 0) return 0;
  return absl::ToUnixNanos(absl::TimeFromTimespec(status.st_mtim));
}

std::string LogDirectory(const LibvirtSpec& spec, const std::string& directory) {
  if (spec.session) return "";
  return absl::StrCat(directory, spec.containers ? "/lxc" : "/qemu");
}

std::optional<LoggedLife> LastLoggedLife(const std::string& log_directory, const std::string& name,
                                         absl::Time process_start, absl::Time seen) {
  if (log_directory.empty() || absl::StrContains(name, '/')) return std::nullopt;
  const absl::StatusOr<std::string> log =
      ReadRegularFile(absl::StrCat(log_directory, "/", name, ".log"), kMaxLog, nullptr);
  if (!log.ok() || log->size() == kMaxLog) return std::nullopt;
  std::optional<LoggedLife> life;
  for (const absl::string_view line : absl::StrSplit(*log, '\n')) {
    // "2026-01-31 12:00:00.000+0000: starting up libvirt version: 9.0.0, ..."
    // "2026-01-31 12:00:05.000+0000: shutting down, reason=destroyed"
    const std::pair<absl::string_view, absl::string_view> noted =
        absl::StrSplit(line, absl::MaxSplits(": ", 1));
    absl::string_view what = noted.second;
    absl::Time time;
    if (!absl::ParseTime("%Y-%m-%d %H:%M:%E*S%z", noted.first, &time, nullptr)) continue;
    // QEMU writes there as well, before libvirt notes its end; and clocks are set: what stands
    // after a line is later, whatever its time.
    if (absl::ConsumePrefix(&what, "shutting down, reason=")) {
      if (life.has_value()) life->end = LoggedEnd(what);
    } else if (absl::StartsWith(what, "starting up")) {
      if (life.has_value() || time > seen) return std::nullopt;
      if (time >= process_start - kMaxStart) life.emplace();
    }
  }
  return life;
}

void DomainProcesses::Begin(const DomainName& domain, bool has_descriptors, absl::Duration now) {
  if (looks_.contains(domain.uuid)) return;
  Look& look = looks_[domain.uuid];
  look.process = absl::ResourceExhaustedError("pidfd");
  if (has_descriptors) ReadPidFile(domain, &look);
  if (!look.process.ok() || look.process->kind != PeerProcess::Kind::kTracked) return;
  look.command_line = command_lines_->Begin(look.process->pid);
  look.not_after = now + kMaxWait;
}

bool DomainProcesses::Waits(const std::string& uuid, absl::Duration now) const {
  const auto it = looks_.find(uuid);
  if (it == looks_.end() || it->second.command_line == nullptr) return false;
  return !it->second.command_line->done() && now < it->second.not_after;
}

bool DomainProcesses::HasNoPidFile(const std::string& uuid) const {
  const auto it = looks_.find(uuid);
  return it != looks_.end() && it->second.no_pid_file;
}

int64_t DomainProcesses::PidInFile(const std::string& uuid) const {
  const auto it = looks_.find(uuid);
  return it == looks_.end() ? 0 : it->second.pid_in_file;
}

absl::StatusOr<PeerProcess> DomainProcesses::Find(const DomainName& domain) const {
  const auto it = looks_.find(domain.uuid);
  if (it == looks_.end()) return PeerProcess();
  const Look& look = it->second;
  if (!look.process.ok()) return look.process.status();
  const int64_t pid = look.process->pid;
  if (look.process->kind == PeerProcess::Kind::kGone) return Gone(pid);
  if (look.process->kind == PeerProcess::Kind::kUntracked) return PeerProcess();
  if (HasEnded(look.process->pidfd.get())) return Gone(pid);
  const CommandLines::Read& read = *look.command_line;
  if (read.done() && read.out_of_descriptors()) {
    return absl::ResourceExhaustedError("the process's command line");
  }
  if (!read.done() ||
      (containers_ ? read.container() != domain.name : read.uuid() != domain.uuid)) {
    return look.younger_than_file ? Gone(pid) : PeerProcess();
  }
  // The id of a container is its process's number: that one is of a later life.
  if (containers_ && pid != domain.id) return Gone(0);
  absl::StatusOr<PeerProcess> process = IdentifyByPid(pid);
  if (absl::IsResourceExhausted(process.status())) return process.status();
  // The number was still that process's when the second descriptor was made.
  if (HasEnded(look.process->pidfd.get())) return Gone(pid);
  if (!process.ok()) return PeerProcess();
  return process;
}

void DomainProcesses::ReadPidFile(const DomainName& domain, Look* look) const {
  look->process = PeerProcess();
  absl::Time written = absl::InfiniteFuture();
  if (containers_) return SetProcess(domain.id, written, look);
  if (absl::StrContains(domain.name, '/')) return;
  const absl::StatusOr<std::string> text =
      ReadRegularFile(absl::StrCat(directory_, "/", domain.name, ".pid"), kMaxPidFile, &written);
  if (absl::IsResourceExhausted(text.status())) {
    look->process = text.status();
    return;
  }
  look->no_pid_file = absl::IsNotFound(text.status());
  int64_t pid = 0;
  if (!text.ok() || !absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &pid) || pid <= 0) return;
  SetProcess(pid, written, look);
}

void DomainProcesses::SetProcess(int64_t pid, absl::Time written, Look* look) {
  look->pid_in_file = pid;
  // The descriptor first: what is read then is of the process that it holds.
  absl::StatusOr<PeerProcess> process = IdentifyByPid(pid);
  if (!process.ok() && !absl::IsResourceExhausted(process.status())) return;
  // libvirt writes the file once the process is there.
  look->younger_than_file = process.ok() && process->start_ticks != 0 &&
                            ProcessStartTime(process->start_ticks) > written + kStartError;
  look->process = std::move(process);
}

std::optional<uint64_t> ForeignPidNamespaceBehind(const UnixAddress& address) {
  const UniqueFd socket_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (!socket_fd.valid() || address.Connect(socket_fd.get()) != 0 ||
      getsockopt(socket_fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) {
    return std::nullopt;
  }
  if (peer.pid <= 0) return 0;
  const uint64_t pid_namespace = PidNamespaceOf(peer.pid);
  if (pid_namespace == 0 || pid_namespace == ReadPidNamespace()) return std::nullopt;
  return pid_namespace;
}

absl::flat_hash_map<std::string, PeerProcess> FindProcessesInNamespace(
    uint64_t pid_namespace, const absl::flat_hash_set<std::string>& uuids,
    CommandLines* command_lines) {
  absl::flat_hash_map<std::string, PeerProcess> found;
  std::vector<std::pair<int64_t, std::string>> candidates;
  for (auto& [pid, uuid] : ReadUuids(PidsOf(pid_namespace), command_lines)) {
    if (uuids.contains(uuid)) candidates.emplace_back(pid, uuid);
  }
  for (const auto& [pid, uuid] : candidates) {
    absl::StatusOr<PeerProcess> process = IdentifyByPid(pid);
    if (!process.ok() || process->kind != PeerProcess::Kind::kTracked) continue;
    // Read again, now that the descriptor holds the process: another may have taken the number.
    const absl::flat_hash_map<int64_t, std::string> again = ReadUuids({pid}, command_lines);
    const auto it = again.find(pid);
    if (it == again.end() || it->second != uuid || PidNamespaceOf(pid) != pid_namespace ||
        HasEnded(process->pidfd.get())) {
      continue;
    }
    found.try_emplace(uuid, *std::move(process));
  }
  return found;
}

}  // namespace vmeventd
