#include "watcher/libvirt/domain_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/small_file.h"
#include "base/unique_fd.h"
#include "watcher/runs/command_lines.h"
#include "watcher/runs/host_ids.h"

namespace vmeventd {
namespace {

constexpr size_t kMaxPidFile = 64;
// Longest wait for a process's command line. Most take some microseconds.
constexpr absl::Duration kMaxWait = absl::Milliseconds(100);
// Number of them that are read at once.
constexpr size_t kReadsAtOnce = 256;
static_assert(kReadsAtOnce < CommandLines::kMaxWaiting);

std::string UserRuntimeDirectory() {
  if (const char* const directory = std::getenv("XDG_RUNTIME_DIR"); directory != nullptr) {
    return directory;
  }
  const char* const home = std::getenv("HOME");
  return absl::StrCat(home == nullptr ? "" : home, "/.cache");
}

// Reads a pid file of libvirt. A container may own the directory and may have replaced the file, so
// only a regular file is opened for reading: open() has effects on a device or a FIFO.
absl::StatusOr<std::string> ReadPidFile(const std::string& path) {
  const UniqueFd there(open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!there.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  struct stat status {};
  if (fstat(there.get(), &status) != 0) return absl::ErrnoToStatus(errno, "fstat");
  if (!S_ISREG(status.st_mode)) return absl::FailedPreconditionError("not a regular file");
  return ReadSmallFile(absl::StrCat("/proc/self/fd/", there.get()), kMaxPidFile);
}

// Returns the inode of the process's PID namespace; 0: it cannot be read.
uint64_t PidNamespaceOf(int64_t pid) {
  struct stat status {};
  return stat(absl::StrCat("/proc/", pid, "/ns/pid").c_str(), &status) == 0 ? status.st_ino : 0;
}

// Returns whether a process is in the place's PID namespace. If the namespace of a process cannot
// be read (it may belong to another user), it counts as this process's own.
bool IsIn(const ProcessPlace& place, int64_t pid) {
  const uint64_t pid_namespace = PidNamespaceOf(pid);
  if (place.foreign_namespace.has_value()) return pid_namespace == *place.foreign_namespace;
  return pid_namespace == 0 || pid_namespace == ReadPidNamespace();
}

// The pid that libvirt gives for the domain's process; 0: none.
int64_t GivenPid(const ProcessPlace& place, const DomainName& domain) {
  if (place.containers) return domain.id;
  if (absl::StrContains(domain.name, '/')) return 0;
  int64_t pid = 0;
  const absl::StatusOr<std::string> text =
      ReadPidFile(absl::StrCat(place.pid_directory, "/", domain.name, ".pid"));
  if (!text.ok() || !absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &pid)) return 0;
  return pid;
}

std::vector<int64_t> PidsIn(const ProcessPlace& place) {
  std::vector<int64_t> pids;
  DIR* const list = opendir("/proc");
  if (list == nullptr) return pids;
  while (const dirent* const entry = readdir(list)) {
    int64_t pid = 0;
    if (absl::SimpleAtoi(entry->d_name, &pid) && IsIn(place, pid)) pids.push_back(pid);
  }
  closedir(list);
  return pids;
}

// Calls `use` with the index and the command line of each process that gives it in time.
void ForEachCommandLine(const std::vector<int64_t>& pids, CommandLines* command_lines,
                        const std::function<void(size_t, const CommandLineRead&)>& use) {
  for (size_t begin = 0; begin < pids.size(); begin += kReadsAtOnce) {
    const size_t end = std::min(begin + kReadsAtOnce, pids.size());
    std::vector<std::shared_ptr<const CommandLineRead>> reads;
    for (size_t at = begin; at < end; ++at) reads.push_back(command_lines->Begin(pids[at]));
    const absl::Time deadline = absl::Now() + kMaxWait;
    for (size_t at = begin; at < end; ++at) {
      const CommandLineRead& read = *reads[at - begin];
      if (read.Await(deadline - absl::Now())) use(at, read);
    }
  }
}

// A process that may be that of domains[index].
struct Candidate {
  size_t index;
  int64_t pid;
};

// Sets the process of each domain that has a candidate which was started for it.
void Confirm(const ProcessPlace& place, const std::vector<DomainName>& domains,
             const std::vector<Candidate>& candidates, CommandLines* command_lines,
             std::vector<DomainProcess>* found) {
  std::vector<int64_t> pids;
  std::vector<std::pair<size_t, PeerProcess>> processes;
  for (const Candidate& candidate : candidates) {
    // The descriptor first: what is read then is of the process that it holds.
    absl::StatusOr<PeerProcess> process = IdentifyByPid(candidate.pid);
    (*found)[candidate.index].no_descriptor |= absl::IsResourceExhausted(process.status());
    if (!process.ok() || process->kind != PeerProcess::Kind::kTracked) continue;
    pids.push_back(candidate.pid);
    processes.emplace_back(candidate.index, *std::move(process));
  }
  ForEachCommandLine(pids, command_lines, [&](size_t at, const CommandLineRead& read) {
    auto& [index, process] = processes[at];
    const DomainName& domain = domains[index];
    const bool is_its =
        place.containers ? read.container() == domain.name : read.uuid() == domain.uuid;
    // A process that started later is that of a later life.
    if (!is_its || !IsIn(place, process.pid) || HasEnded(process.pidfd.get()) ||
        process.start_ticks > domain.reported_ticks) {
      return;
    }
    (*found)[index].process = std::move(process);
  });
}

// Finds processes that were started with the UUID of a domain without a process. If several have
// the same UUID, none of them counts.
std::vector<Candidate> FindByUuid(const ProcessPlace& place, const std::vector<DomainName>& domains,
                                  const std::vector<DomainProcess>& found,
                                  CommandLines* command_lines) {
  constexpr int64_t kSeveral = -1;
  absl::flat_hash_map<std::string, Candidate> wanted;  // by UUID
  for (size_t index = 0; index < domains.size(); ++index) {
    if (found[index].process.kind != PeerProcess::Kind::kTracked) {
      wanted[domains[index].uuid] = {index, 0};
    }
  }
  if (wanted.empty()) return {};
  const std::vector<int64_t> pids = PidsIn(place);
  ForEachCommandLine(pids, command_lines, [&](size_t at, const CommandLineRead& read) {
    const auto it = wanted.find(read.uuid());
    if (it != wanted.end()) it->second.pid = it->second.pid == 0 ? pids[at] : kSeveral;
  });
  std::vector<Candidate> candidates;
  for (const auto& [uuid, candidate] : wanted) {
    if (candidate.pid > 0) candidates.push_back(candidate);
  }
  return candidates;
}

}  // namespace

std::string PidDirectory(const LibvirtSpec& spec, const std::string& socket) {
  std::string base = spec.session ? UserRuntimeDirectory() + "/libvirt" : "/run/libvirt";
  if (!socket.empty()) base = socket.substr(0, socket.rfind('/'));
  if (spec.containers) return absl::StrCat(base, "/lxc");
  return absl::StrCat(base, spec.session ? "/qemu/run" : "/qemu");
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

std::vector<DomainProcess> FindProcesses(const ProcessPlace& place,
                                         const std::vector<DomainName>& domains,
                                         CommandLines* command_lines) {
  std::vector<DomainProcess> found(domains.size());
  if (place.foreign_namespace == 0 || (place.containers && place.foreign_namespace.has_value())) {
    return found;
  }
  std::vector<Candidate> given;
  for (size_t index = 0; index < domains.size(); ++index) {
    found[index].visible = true;
    if (place.foreign_namespace.has_value()) continue;
    if (const int64_t pid = GivenPid(place, domains[index]); pid > 0) given.push_back({index, pid});
  }
  Confirm(place, domains, given, command_lines, &found);
  if (place.containers) return found;
  Confirm(place, domains, FindByUuid(place, domains, found, command_lines), command_lines, &found);
  return found;
}

}  // namespace vmeventd
