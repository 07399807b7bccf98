#include "base/system.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vmeventd {
namespace {

// 16 KiB hold any realistic entry of the databases; for a larger one the number is shown.
constexpr size_t kEntryBytes = 16384;

}  // namespace

absl::Status SyncDirectoryOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory =
      slash == std::string::npos ? "." : path.substr(0, std::max<size_t>(slash, 1));
  const UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(directory, "cannot be opened", errno);
  // EINVAL: this file system has nothing to sync there.
  if (fsync(fd.get()) == 0 || errno == EINVAL) return absl::OkStatus();
  return ErrnoStatus(directory, "cannot be synced", errno);
}

absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t max_bytes) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.valid()) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  return ReadSmallFile(file.get(), path, max_bytes);
}

absl::StatusOr<std::string> ReadSmallFile(int file, absl::string_view path, size_t max_bytes) {
  std::string text;
  std::array<char, 4096> buffer;
  while (text.size() < max_bytes) {
    const size_t wanted = std::min(buffer.size(), max_bytes - text.size());
    const ssize_t size = read(file, buffer.data(), wanted);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path));
    if (size == 0) break;
    text.append(buffer.data(), static_cast<size_t>(size));
  }
  return text;
}

std::string UserName(uid_t uid) {
  std::string buffer(kEntryBytes, '\0');
  passwd entry{};
  passwd* found = nullptr;
  getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found);
  return found == nullptr ? absl::StrCat(uid) : found->pw_name;
}

std::string GroupName(gid_t gid) {
  std::string buffer(kEntryBytes, '\0');
  group entry{};
  group* found = nullptr;
  getgrgid_r(gid, &entry, buffer.data(), buffer.size(), &found);
  return found == nullptr ? absl::StrCat(gid) : found->gr_name;
}

std::vector<UniqueFd> TakeDescriptors(msghdr* message) {
  std::vector<UniqueFd> descriptors;
  for (cmsghdr* header = CMSG_FIRSTHDR(message); header != nullptr;
       header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    std::vector<int> numbers((header->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    std::memcpy(numbers.data(), CMSG_DATA(header), numbers.size() * sizeof(int));
    for (const int number : numbers) descriptors.emplace_back(number);
  }
  return descriptors;
}

}  // namespace vmeventd
