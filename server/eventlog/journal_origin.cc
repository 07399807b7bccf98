#include "server/eventlog/journal_origin.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "server/eventlog/schema.h"

namespace vmeventd {
namespace {

constexpr char kSuffix[] = ".generation-";

std::string GenerationPath(const std::string& path, absl::string_view generation) {
  return absl::StrCat(path, kSuffix, generation);
}

// "INODE BIRTH", the latter in nanoseconds and 0 where the file system does not keep it.
std::string FileOf(const std::string& path) {
  struct statx info {};
  if (statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &info) != 0) {
    return "";
  }
  const bool has_birth = (info.stx_mask & STATX_BTIME) != 0;
  const int64_t birth =
      has_birth ? info.stx_btime.tv_sec * 1'000'000'000 + info.stx_btime.tv_nsec : 0;
  return absl::StrCat(info.stx_ino, " ", birth);
}

bool IsSameFile(absl::string_view a, absl::string_view b) {
  const std::pair<absl::string_view, absl::string_view> first = absl::StrSplit(a, ' ');
  const std::pair<absl::string_view, absl::string_view> second = absl::StrSplit(b, ' ');
  const bool births_known = first.second != "0" && second.second != "0";
  return first.first == second.first && (!births_known || first.second == second.second);
}

std::vector<std::string> GenerationsAt(const std::string& path) {
  const std::filesystem::path file(path);
  const std::string prefix = absl::StrCat(file.filename().string(), kSuffix);
  std::vector<std::string> found;
  std::error_code error;
  std::filesystem::directory_iterator entries(file.parent_path(), error);
  for (; !error && entries != std::filesystem::directory_iterator(); entries.increment(error)) {
    const std::string name = entries->path().filename();
    if (absl::StartsWith(name, prefix)) found.push_back(name.substr(prefix.size()));
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

absl::StatusOr<std::string> WhyCopied(SqliteDatabase* database, const std::string& path) {
  const auto said_file = QueryMeta(database, "file");
  if (!said_file.ok()) return said_file.status();
  const auto said_generations = QueryMeta(database, "generations");
  if (!said_generations.ok()) return said_generations.status();
  if (said_file->value_or("").empty()) return "";
  const std::string file = FileOf(path);
  if (!file.empty() && !IsSameFile(file, **said_file)) {
    return absl::StrCat(path, ": the file was made again since vmeventd wrote it last");
  }
  const std::vector<std::string> known = absl::StrSplit(said_generations->value_or(""), ' ');
  for (const std::string& generation : GenerationsAt(path)) {
    if (std::find(known.begin(), known.end(), generation) == known.end()) {
      return absl::StrCat(path, ": the journal does not know of ", GenerationPath(path, generation),
                          ", which is younger");
    }
  }
  return "";
}

JournalOrigin OriginWith(const std::string& path, const std::string& generation) {
  std::vector<std::string> generations = GenerationsAt(path);
  // Files that cannot be removed do not count for ever.
  constexpr size_t kMaxKnown = 16;
  if (generations.size() > kMaxKnown) generations.resize(kMaxKnown);
  generations.push_back(generation);
  return {FileOf(path), absl::StrJoin(generations, " ")};
}

void BeginGeneration(const std::string& path, const std::string& generation) {
  const int fd = open(GenerationPath(path, generation).c_str(),
                      O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
  if (fd < 0) return;
  close(fd);
  for (const std::string& other : GenerationsAt(path)) {
    if (other != generation) unlink(GenerationPath(path, other).c_str());
  }
}

FileKey FileKeyOf(const std::string& path) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) return {errno == ENOENT, 0, 0};
  return {true, info.st_dev, info.st_ino};
}

bool IsOtherFile(const FileKey& before, const FileKey& now) {
  return before.inode != 0 && now.known &&
         (before.device != now.device || before.inode != now.inode);
}

}  // namespace vmeventd
