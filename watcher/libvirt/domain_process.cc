#include "watcher/libvirt/domain_process.h"

#include <sys/stat.h>

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

// The file is written by libvirt, in a directory that a container may own.
absl::StatusOr<std::string> ReadRegularFile(const std::string& path) {
  struct stat there {};
  if (lstat(path.c_str(), &there) != 0) return absl::ErrnoToStatus(errno, "lstat");
  if (!S_ISREG(there.st_mode)) return absl::FailedPreconditionError("no regular file");
  return ReadSmallFile(path, kMaxPidFile);
}

bool HasUuid(const std::string& command_line, const std::string& uuid) {
  const std::vector<absl::string_view> words = absl::StrSplit(command_line, '\0');
  for (size_t at = 1; at < words.size(); ++at) {
    if (words[at - 1] == "-uuid" && words[at] == uuid) return true;
  }
  return false;
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
  if (!process.ok() || process->kind != PeerProcess::Kind::kTracked) return PeerProcess();
  const absl::StatusOr<std::string> command_line =
      ReadSmallFile(absl::StrCat("/proc/", pid, "/cmdline"), kMaxCommandLine);
  if (absl::IsResourceExhausted(command_line.status())) return command_line.status();
  if (!command_line.ok() || !HasUuid(*command_line, domain.uuid) ||
      HasEnded(process->pidfd.get())) {
    return PeerProcess();
  }
  return process;
}

}  // namespace vmeventd
