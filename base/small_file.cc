#include "base/small_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"

namespace vmeventd {

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

}  // namespace vmeventd
