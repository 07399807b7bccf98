#include "client/consume/cursor_file.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/output/output.h"
#include "client/output/terminal_text.h"
#include "nlohmann/json.hpp"

namespace vmeventd::client {
namespace {

constexpr size_t kMaxBytes = 1 << 20;
constexpr int kVersion = 1;

using Positions = std::map<std::string, WatchPosition>;

const std::string* TextOf(const nlohmann::json& object, const char* name) {
  const auto found = object.find(name);
  return found == object.end() ? nullptr : found->get_ptr<const std::string*>();
}

// The positions, or why the content is not a cursor.
absl::StatusOr<Positions> Parse(const std::string& content) {
  const auto wrong = [](absl::string_view what) { return absl::FailedPreconditionError(what); };
  if (content.empty()) return wrong("is empty");
  const nlohmann::json json = nlohmann::json::parse(content, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return wrong("is not a JSON object");
  const auto version = json.find("vmevents_cursor");
  if (version == json.end()) return wrong("has no member \"vmevents_cursor\"");
  if (*version != kVersion) return wrong("is of a later version of vmevents");
  const auto list = json.find("positions");
  if (list == json.end() || !list->is_array()) return wrong("has no list \"positions\"");
  Positions positions;
  for (const nlohmann::json& entry : *list) {
    if (!entry.is_object()) return wrong("has a position that is not an object");
    const std::string* server = TextOf(entry, "server");
    const std::string* journal_id = TextOf(entry, "journal_id");
    const std::string* sequence = TextOf(entry, "sequence");
    if (server == nullptr || journal_id == nullptr || journal_id->empty()) {
      return wrong("has a position without \"server\" or \"journal_id\"");
    }
    WatchPosition position{0, *journal_id};
    if (sequence == nullptr || !absl::SimpleAtoi(*sequence, &position.sequence)) {
      return wrong("has a position whose \"sequence\" is not a number in quotes");
    }
    const std::string* time = TextOf(entry, "message_time");
    std::string ignored;
    if (time != nullptr &&
        !absl::ParseTime(absl::RFC3339_full, *time, &position.message_time, &ignored)) {
      return wrong("has a position whose \"message_time\" is not of RFC 3339");
    }
    positions[*server] = std::move(position);
  }
  return positions;
}

std::string Print(const Positions& positions) {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  for (const auto& [server, position] : positions) {
    nlohmann::ordered_json entry = {{"server", server},
                                    {"journal_id", position.journal_id},
                                    {"sequence", absl::StrCat(position.sequence)}};
    if (position.message_time != absl::InfinitePast()) {
      entry["message_time"] =
          absl::FormatTime(absl::RFC3339_full, position.message_time, absl::UTCTimeZone());
    }
    list.push_back(std::move(entry));
  }
  const nlohmann::ordered_json json = {{"vmevents_cursor", kVersion}, {"positions", list}};
  return absl::StrCat(json.dump(), "\n");
}

}  // namespace

absl::StatusOr<UniqueFd> LockFile(const std::string& path, absl::string_view in_use) {
  UniqueFd lock(open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (lock.valid() && flock(lock.get(), LOCK_EX | LOCK_NB) == 0) return lock;
  if (lock.valid() && errno == EWOULDBLOCK) return absl::FailedPreconditionError(in_use);
  return absl::UnavailableError(
      absl::StrCat("cannot lock ", EscapeForTerminal(path), ": ", strerror(errno)));
}

absl::StatusOr<std::unique_ptr<CursorFile>> CursorFile::Open(
    std::string path, const std::vector<std::string>& servers) {
  auto file = absl::WrapUnique(new CursorFile(std::move(path)));
  const size_t name = file->path_.rfind('/') + 1;  // 0 without a slash
  absl::StatusOr<UniqueFd> lock = LockFile(
      absl::StrCat(file->path_.substr(0, name), ".", file->path_.substr(name), ".lock"),
      absl::StrCat("another vmevents uses the cursor file ", EscapeForTerminal(file->path_),
                   "; end that one, or give this one a file of its own"));
  if (!lock.ok()) return lock.status();
  file->lock_ = *std::move(lock);
  const absl::StatusOr<std::string> content = ReadPlainFile(file->path_, kMaxBytes);
  if (absl::IsNotFound(content.status())) return file;
  if (!content.ok()) return content.status();
  absl::StatusOr<Positions> positions = Parse(*content);
  if (!positions.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat(EscapeForTerminal(file->path_), " is not a cursor of vmevents: it ",
                     positions.status().message(), "; remove it, or name another file"));
  }
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
  const auto found = positions_.find(server);
  if (found != positions_.end() && found->second == position) return absl::OkStatus();
  positions_[server] = position;
  return WriteFileAtomically(path_, Print(positions_));
}

}  // namespace vmeventd::client
