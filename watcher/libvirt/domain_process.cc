#include "watcher/libvirt/domain_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/small_file.h"
#include "base/unique_fd.h"

namespace vmeventd {
namespace {

// QEMU's arguments: libvirt's command lines have some dozens of KiB at the most.
constexpr size_t kMaxCommandLine = 1 << 20;
constexpr size_t kMaxPidFile = 64;

std::string UserRuntimeDirectory() {
  if (const char* const directory = std::getenv("XDG_RUNTIME_DIR"); directory != nullptr) {
    return directory;
  }
  const char* const home = std::getenv("HOME");
  return absl::StrCat(home == nullptr ? "" : home, "/.cache");
}

// The file is written by libvirt, in a directory that a container may own: whatever has the name by
// now, only a regular file is opened for reading. (open() acts on a device or a FIFO.)
absl::StatusOr<std::string> ReadRegularFile(const std::string& path) {
  const UniqueFd there(open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!there.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  struct stat status {};
  if (fstat(there.get(), &status) != 0) return absl::ErrnoToStatus(errno, "fstat");
  if (!S_ISREG(status.st_mode)) return absl::FailedPreconditionError("no regular file");
  return ReadSmallFile(absl::StrCat("/proc/self/fd/", there.get()), kMaxPidFile);
}

PeerProcess Gone(int64_t pid) { return {.kind = PeerProcess::Kind::kGone, .pid = pid}; }

// What QEMU was started with as -uuid; "" without it.
absl::StatusOr<std::string> UuidOf(int64_t pid) {
  const absl::StatusOr<std::string> command_line =
      ReadSmallFile(absl::StrCat("/proc/", pid, "/cmdline"), kMaxCommandLine);
  if (absl::IsResourceExhausted(command_line.status())) return command_line.status();
  if (!command_line.ok()) return "";
  const std::vector<absl::string_view> words = absl::StrSplit(*command_line, '\0');
  for (size_t at = 1; at < words.size(); ++at) {
    if (words[at - 1] == "-uuid") return std::string(words[at]);
  }
  return "";
}

// 0: it cannot be read.
uint64_t PidNamespaceOf(int64_t pid) {
  struct stat status {};
  return stat(absl::StrCat("/proc/", pid, "/ns/pid").c_str(), &status) == 0 ? status.st_ino : 0;
}

}  // namespace

std::string PidDirectory(const LibvirtSpec& spec, const std::string& socket) {
  std::string base = spec.session ? UserRuntimeDirectory() + "/libvirt" : "/run/libvirt";
  if (!socket.empty()) base = socket.substr(0, socket.rfind('/'));
  return absl::StrCat(base, spec.session ? "/qemu/run" : "/qemu");
}

absl::StatusOr<PeerProcess> FindDomainProcess(const std::string& directory,
                                              const DomainName& domain) {
  if (absl::StrContains(domain.name, '/')) return PeerProcess();
  absl::StatusOr<std::string> text =
      ReadRegularFile(absl::StrCat(directory, "/", domain.name, ".pid"));
  if (absl::IsResourceExhausted(text.status())) return text.status();
  int64_t pid = 0;
  if (!text.ok() || !absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &pid) || pid <= 0) {
    return PeerProcess();
  }
  // The descriptor first: what is read then is of the process that it holds.
  absl::StatusOr<PeerProcess> process = IdentifyByPid(pid);
  if (absl::IsResourceExhausted(process.status())) return process.status();
  if (!process.ok() || process->kind == PeerProcess::Kind::kUntracked) return PeerProcess();
  if (process->kind == PeerProcess::Kind::kGone) return Gone(pid);
  const absl::StatusOr<std::string> uuid = UuidOf(pid);
  if (!uuid.ok()) return uuid.status();
  if (HasEnded(process->pidfd.get())) return Gone(pid);
  if (*uuid != domain.uuid) return PeerProcess();
  return process;
}

uint64_t PidNamespaceBehind(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) return 0;
  path.copy(address.sun_path, path.size());
  const UniqueFd socket_fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (!socket_fd.valid() ||
      connect(socket_fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0 ||
      getsockopt(socket_fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.pid <= 0) {
    return 0;
  }
  const uint64_t pid_namespace = PidNamespaceOf(peer.pid);
  return pid_namespace == ReadPidNamespace() ? 0 : pid_namespace;
}

absl::flat_hash_map<std::string, PeerProcess> FindProcessesInNamespace(
    uint64_t pid_namespace, const absl::flat_hash_set<std::string>& uuids) {
  absl::flat_hash_map<std::string, PeerProcess> found;
  DIR* const list = opendir("/proc");
  if (list == nullptr) return found;
  std::vector<int64_t> pids;
  while (const dirent* const entry = readdir(list)) {
    int64_t pid = 0;
    if (absl::SimpleAtoi(entry->d_name, &pid)) pids.push_back(pid);
  }
  closedir(list);
  for (const int64_t pid : pids) {
    if (PidNamespaceOf(pid) != pid_namespace) continue;
    const absl::StatusOr<std::string> uuid = UuidOf(pid);
    if (!uuid.ok() || !uuids.contains(*uuid)) continue;
    absl::StatusOr<PeerProcess> process = IdentifyByPid(pid);
    if (!process.ok() || process->kind != PeerProcess::Kind::kTracked) continue;
    // Once more, now that the descriptor holds the process: another may have taken the number.
    const absl::StatusOr<std::string> again = UuidOf(pid);
    if (!again.ok() || *again != *uuid || PidNamespaceOf(pid) != pid_namespace ||
        HasEnded(process->pidfd.get())) {
      continue;
    }
    found.try_emplace(*uuid, *std::move(process));
  }
  return found;
}

}  // namespace vmeventd
