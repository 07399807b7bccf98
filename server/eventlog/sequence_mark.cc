#include "server/eventlog/sequence_mark.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/errno_status.h"

namespace vmeventd {
namespace {

// Has one length for all numbers: written over itself it needs no new room on the disk.
std::string TextOf(const SequenceMark::Value& value) {
  return absl::StrFormat("%-36s committed %020d published %020d\n", value.journal_id,
                         value.committed, value.published);
}

SequenceMark::Value ValueOf(absl::string_view text) {
  SequenceMark::Value value;
  const std::vector<absl::string_view> words =
      absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  if (words.size() != 5 || words[1] != "committed" || words[3] != "published" ||
      !absl::SimpleAtoi(words[2], &value.committed) ||
      !absl::SimpleAtoi(words[4], &value.published)) {
    return {};
  }
  value.journal_id = std::string(words[0]);
  return value;
}

}  // namespace

absl::Status SyncDirectoryOf(const std::string& path) {
  const std::string directory = std::filesystem::path(path).parent_path();
  const UniqueFd fd(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus(directory, "cannot be opened", errno);
  // EINVAL: this file system has nothing to sync there.
  if (fsync(fd.get()) == 0 || errno == EINVAL) return absl::OkStatus();
  return ErrnoStatus(directory, "cannot be synced", errno);
}

absl::StatusOr<std::unique_ptr<SequenceMark>> SequenceMark::Open(const std::string& path) {
  UniqueFd file(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0640));
  if (!file.valid()) return ErrnoStatus(path, "cannot be opened", errno);
  std::unique_ptr<SequenceMark> mark(new SequenceMark(path, std::move(file)));
  // A new file survives a loss of power only once its directory is synced.
  if (absl::Status status = SyncDirectoryOf(path); !status.ok()) return status;
  char text[256];
  const ssize_t size = pread(mark->fd_.get(), text, sizeof(text), 0);
  if (size < 0) return ErrnoStatus(path, "cannot be read", errno);
  mark->value_ = ValueOf(absl::string_view(text, static_cast<size_t>(size)));
  if (!mark->value_.journal_id.empty()) return mark;
  // The disk may be full when the mark is needed: it takes its room now. A disk that is full
  // already does not stop the start; Set fails then.
  if (mark->Set({}).ok()) mark->Sync().IgnoreError();
  if (ftruncate(mark->fd_.get(), static_cast<off_t>(TextOf({}).size())) != 0) {
    return ErrnoStatus(path, "cannot be truncated", errno);
  }
  return mark;
}

absl::Status SequenceMark::Sync() {
  return fdatasync(fd_.get()) == 0 ? absl::OkStatus()
                                   : ErrnoStatus(path_, "cannot be synced", errno);
}

absl::Status SequenceMark::Set(const Value& value) {
  value_ = value;
  const std::string text = TextOf(value);
  if (pwrite(fd_.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return ErrnoStatus(path_, "cannot be written", errno);
  }
  return absl::OkStatus();
}

}  // namespace vmeventd
