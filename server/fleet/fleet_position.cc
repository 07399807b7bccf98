#include "server/fleet/fleet_position.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/system.h"

namespace vmeventd {
namespace {

// Size of the file: more than a target takes, two tokens of names of 64 bytes and a stream's name.
constexpr size_t kFileBytes = 1024;

constexpr absl::string_view kNoStream = "-";

// Calls `use` with each number of a position and its name.
template <typename Position, typename Use>
void ForEachNumber(Position& value, const Use& use) {
  use("sequence", value.sequence);
  use("stream", value.stream_sequence);
  use("lost", value.lost_up_to);
  use("own", value.own.place);
  use("own-event", value.own.sequence);
  use("looked", value.looked_at.place);
  use("looked-event", value.looked_at.sequence);
}

// One line, padded with blanks: written over itself it needs no new room on the disk.
std::string TextOf(const FleetPosition& value, absl::string_view target) {
  std::string text =
      absl::StrCat(value.journal_id, " target ", target, " created ",
                   value.log_id.empty() ? kNoStream : absl::string_view(value.log_id));
  ForEachNumber(value, [&text](const char* name, uint64_t number) {
    absl::StrAppend(&text, " ", name, " ", number);
  });
  text.resize(kFileBytes - 1, ' ');
  text.push_back('\n');
  return text;
}

// Returns the target; empty: the text names none.
std::string TargetOf(const std::vector<absl::string_view>& words) {
  return words.size() >= 3 && words[1] == "target" ? std::string(words[2]) : "";
}

FleetPosition ValueOf(const std::vector<absl::string_view>& words, absl::string_view target) {
  if (TargetOf(words) != target || words.size() < 5 || words[3] != "created") return {};
  FleetPosition value;
  value.journal_id = std::string(words[0]);
  if (words[4] != kNoStream) value.log_id = std::string(words[4]);
  size_t at = 5;
  ForEachNumber(value, [&](const char* name, uint64_t& number) {
    const bool there = at + 1 < words.size() && words[at] == name;
    if (!there || !absl::SimpleAtoi(words[at + 1], &number)) value.journal_id.clear();
    at += 2;
  });
  return value.journal_id.empty() ? FleetPosition() : value;
}

}  // namespace

std::string ToSentAfter(const FleetPosition& position) {
  return absl::StrCat(position.sequence, ":", position.stream_sequence);
}

FleetStored ToStored(const FleetMessageId& id, uint64_t stream_sequence, absl::string_view log_id,
                     absl::string_view sent_after, absl::string_view sent_to) {
  const FleetPosition position{id.journal_id, id.sequence, stream_sequence, ""};
  FleetPosition after = position;
  const size_t colon = sent_after.find(':');
  if (colon == sent_after.npos || !absl::SimpleAtoi(sent_after.substr(0, colon), &after.sequence) ||
      !absl::SimpleAtoi(sent_after.substr(colon + 1), &after.stream_sequence) ||
      after.sequence >= position.sequence) {
    return {.position = position, .sent_after = position};
  }
  const bool elsewhere = !sent_to.empty() && sent_to != log_id;
  if (elsewhere || after.stream_sequence >= stream_sequence) after = {id.journal_id};
  return {.position = position, .sent_after = after};
}

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
