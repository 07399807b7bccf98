#include "server/fleet/position_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/errno_status.h"

namespace vmeventd {
namespace {

// More than a target takes: two tokens of names of 64 bytes, and a stream's name.
constexpr size_t kFileBytes = 1024;

// One line, padded with blanks: written over itself it needs no new room on the disk.
std::string TextOf(const FleetPosition& value, absl::string_view target) {
  std::string text = absl::StrCat(value.journal_id, " sequence ", value.sequence, " stream ",
                                  value.stream_sequence, " target ", target);
  if (!value.log_id.empty()) absl::StrAppend(&text, " created ", value.log_id);
  if (!value.log_id.empty() && value.lost_up_to > 0) {
    absl::StrAppend(&text, " lost ", value.lost_up_to);
  }
  if (!value.log_id.empty() && value.own.place > 0) {
    absl::StrAppend(&text, " own ", value.own.place, " own-event ", value.own.sequence, " looked ",
                    value.looked_at.place, " looked-event ", value.looked_at.sequence);
  }
  text.resize(kFileBytes - 1, ' ');
  text.push_back('\n');
  return text;
}

// Empty: it names none.
std::string TargetOf(const std::vector<absl::string_view>& words) {
  return words.size() >= 7 && words[5] == "target" ? std::string(words[6]) : "";
}

FleetPosition ValueOf(const std::vector<absl::string_view>& words, absl::string_view target) {
  FleetPosition value;
  // A file of an earlier version does not say when the stream was created.
  if (words.size() < 7 || words.size() > 19 || words.size() % 2 == 0 || words[1] != "sequence" ||
      words[3] != "stream" || TargetOf(words) != target ||
      !absl::SimpleAtoi(words[2], &value.sequence) ||
      !absl::SimpleAtoi(words[4], &value.stream_sequence)) {
    return {};
  }
  if (words.size() >= 9) {
    if (words[7] != "created") return {};
    value.log_id = std::string(words[8]);
  }
  for (size_t i = 9; i < words.size(); i += 2) {
    uint64_t* const number = words[i] == "lost"           ? &value.lost_up_to
                             : words[i] == "own"          ? &value.own.place
                             : words[i] == "own-event"    ? &value.own.sequence
                             : words[i] == "looked"       ? &value.looked_at.place
                             : words[i] == "looked-event" ? &value.looked_at.sequence
                                                          : nullptr;
    if (number == nullptr || !absl::SimpleAtoi(words[i + 1], number)) return {};
  }
  value.journal_id = std::string(words[0]);
  return value;
}

}  // namespace

absl::StatusOr<std::unique_ptr<PositionFile>> PositionFile::Open(const std::string& path,
                                                                 const std::string& target) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0640));
  if (!fd.valid()) return ErrnoStatus(path, "cannot be opened", errno);
  std::array<char, kFileBytes> text{};
  const ssize_t size = pread(fd.get(), text.data(), text.size(), 0);
  if (size < 0) return ErrnoStatus(path, "cannot be read", errno);
  std::unique_ptr<PositionFile> file(new PositionFile(path, target, std::move(fd)));
  const std::vector<absl::string_view> words =
      absl::StrSplit(absl::string_view(text.data(), static_cast<size_t>(size)),
                     absl::ByAnyChar(" \n"), absl::SkipEmpty());
  file->value_ = ValueOf(words, target);
  if (std::string before = TargetOf(words); before != target) {
    file->target_before_ = std::move(before);
  }
  return file;
}

absl::Status PositionFile::Set(const FleetPosition& value) {
  value_ = value;
  const std::string text = TextOf(value, target_);
  if (pwrite(fd_.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return ErrnoStatus(path_, "cannot be written", errno);
  }
  return absl::OkStatus();
}

}  // namespace vmeventd
