#include "client/sinks/cursor_file.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "client/output/files.h"
#include "client/output/json.h"
#include "client/output/terminal_text.h"
#include "google/protobuf/util/json_util.h"
#include "vmeventd/internal/cursor.pb.h"
#include "watcher/core/proto_time.h"

namespace vmeventd::client {
namespace {

constexpr size_t kMaxBytes = 1 << 20;
constexpr uint32_t kVersion = 1;

using Positions = CursorFile::Positions;

// Unset: the content is not a cursor, or one of a later version.
std::optional<Positions> Parse(const std::string& content) {
  internal::Cursor cursor;
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  if (!google::protobuf::util::JsonStringToMessage(content, &cursor, options).ok() ||
      cursor.vmevents_cursor() != kVersion) {
    return std::nullopt;
  }
  Positions positions;
  for (const internal::Cursor::Position& entry : cursor.positions()) {
    if (entry.journal_id().empty()) return std::nullopt;
    WatchPosition& position = positions[entry.server()];
    position = {entry.sequence(), entry.journal_id()};
    if (entry.has_message_time()) position.message_time = FromTimestamp(entry.message_time());
  }
  return positions;
}

absl::StatusOr<std::string> Print(const Positions& positions) {
  internal::Cursor cursor;
  cursor.set_vmevents_cursor(kVersion);
  for (const auto& [server, position] : positions) {
    internal::Cursor::Position* const entry = cursor.add_positions();
    entry->set_server(server);
    entry->set_journal_id(position.journal_id);
    entry->set_sequence(position.sequence);
    if (position.message_time != absl::InfinitePast()) {
      *entry->mutable_message_time() = ToTimestamp(position.message_time);
    }
  }
  return ToJson(cursor);
}

// Takes the lock next to `file`, a file that is made if it is missing, until the result is
// closed. FAILED_PRECONDITION: another process has it.
absl::StatusOr<UniqueFd> LockBeside(const std::string& file) {
  const size_t name = file.rfind('/') + 1;  // 0 without a slash
  const std::string path = absl::StrCat(file.substr(0, name), ".", file.substr(name), ".lock");
  UniqueFd lock(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (lock.valid() && flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
  if (lock.valid() && errno == EWOULDBLOCK) {
    return absl::FailedPreconditionError(absl::StrCat("another vmevents uses the cursor file ",
                                                      EscapeForTerminal(file),
                                                      "; stop that one, or name another file"));
  }
  if (errno == ENOENT) {
    return absl::UnavailableError(absl::StrCat("there is no directory ",
                                               EscapeForTerminal(path.substr(0, path.rfind('/'))),
                                               ": create it first"));
  }
  return absl::UnavailableError(
      absl::StrCat("cannot lock ", EscapeForTerminal(path), ": ", strerror(errno)));
}

}  // namespace

absl::StatusOr<Positions> CursorFile::Read(const std::string& path) {
  const absl::StatusOr<std::string> content = ReadPlainFile(path, kMaxBytes);
  if (!content.ok()) return content.status();
  std::optional<Positions> positions = Parse(*content);
  if (positions.has_value()) return *std::move(positions);
  return absl::FailedPreconditionError(
      absl::StrCat(EscapeForTerminal(path),
                   " is not a cursor of vmevents, or of a later version; remove it, or name "
                   "another file"));
}

absl::StatusOr<std::unique_ptr<CursorFile>> CursorFile::Open(
    std::string path, const std::vector<std::string>& servers) {
  auto file = absl::WrapUnique(new CursorFile(std::move(path)));
  absl::StatusOr<UniqueFd> lock = LockBeside(file->path_);
  if (!lock.ok()) return lock.status();
  file->lock_ = *std::move(lock);
  absl::StatusOr<Positions> positions = Read(file->path_);
  if (absl::IsNotFound(positions.status())) return file;
  if (!positions.ok()) return positions.status();
  if (servers.size() == 1 && positions->size() == 1) {
    file->positions_[servers.front()] = positions->begin()->second;
  } else {
    file->positions_ = *std::move(positions);
  }
  return file;
}

std::optional<WatchPosition> CursorFile::Find(const std::string& server) const {
  const auto found = positions_.find(server);
  if (found == positions_.end()) return std::nullopt;
  return found->second;
}

absl::Status CursorFile::Save(const std::string& server, const WatchPosition& position) {
  if (Find(server) == position) return absl::OkStatus();
  positions_[server] = position;
  const absl::StatusOr<std::string> text = Print(positions_);
  return text.ok() ? WriteFileAtomically(path_, *text + "\n") : text.status();
}

}  // namespace vmeventd::client
