#include "server/eventlog/alive_time.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "base/errno_status.h"
#include "base/small_file.h"
#include "base/unique_fd.h"

namespace vmeventd {
namespace {

std::string AlivePath(const std::string& journal_path) {
  return std::filesystem::path(journal_path).parent_path() / "alive";
}

}  // namespace

absl::Time ReadAlive(const std::string& journal_path) {
  const absl::StatusOr<std::string> text = ReadSmallFile(AlivePath(journal_path));
  absl::Time until;
  std::string error;
  const bool is_known =
      text.ok() &&
      absl::ParseTime(absl::RFC3339_full, absl::StripAsciiWhitespace(*text), &until, &error);
  return is_known ? until : absl::InfinitePast();
}

absl::Status WriteAlive(const std::string& journal_path, absl::Time until) {
  const std::string path = AlivePath(journal_path);
  const UniqueFd fd(
      open(path.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0640));
  if (!fd.valid()) return ErrnoStatus(path, "cannot be opened", errno);
  // Has one length for all times, as the mark has.
  const std::string text =
      absl::FormatTime("%Y-%m-%dT%H:%M:%E9S+00:00\n", until, absl::UTCTimeZone());
  if (pwrite(fd.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return ErrnoStatus(path, "cannot be written", errno);
  }
  return absl::OkStatus();
}

}  // namespace vmeventd
