#include "server/eventlog/sequence_mark.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/errno_status.h"
#include "base/small_file.h"
#include "base/sync_directory.h"
#include "base/unique_fd.h"

namespace vmeventd {
namespace {

std::string MarkPath(const std::string& journal_path) {
  return std::filesystem::path(journal_path).parent_path() / "sequence";
}

}  // namespace

absl::StatusOr<SequenceMark> ReadMark(const std::string& journal_path) {
  const absl::StatusOr<std::string> text = ReadSmallFile(MarkPath(journal_path));
  if (absl::IsNotFound(text.status())) return SequenceMark();
  if (!text.ok()) return text.status();
  const std::vector<absl::string_view> words =
      absl::StrSplit(*text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  SequenceMark mark;
  if (words.size() != 2 || !absl::SimpleAtoi(words[1], &mark.through)) return SequenceMark();
  mark.journal_id = std::string(words[0]);
  return mark;
}

absl::Status WriteMark(const std::string& journal_path, const SequenceMark& mark) {
  const std::string path = MarkPath(journal_path);
  const bool is_new = access(path.c_str(), F_OK) != 0;
  const UniqueFd fd(
      open(path.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0640));
  if (!fd.valid()) return ErrnoStatus(path, "cannot be opened", errno);
  // The text always has the same length: overwriting the old one needs no more room on the disk.
  const std::string text = absl::StrFormat("%-36s %020d\n", mark.journal_id, mark.through);
  if (pwrite(fd.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return ErrnoStatus(path, "cannot be written", errno);
  }
  if (fdatasync(fd.get()) != 0) return ErrnoStatus(path, "cannot be synced", errno);
  return is_new ? SyncDirectoryOf(path) : absl::OkStatus();
}

}  // namespace vmeventd
