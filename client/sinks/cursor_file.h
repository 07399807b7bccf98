#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "client/output/watch_position.h"
#include "client/sources/watch_positions.h"

namespace vmeventd::client {

// The file that stores the consumer's position at each server, so that it resumes there after a
// restart: an internal::Cursor as JSON.
// One thread, and one process: a lock file ".FILE.lock" in the same directory ensures that.
class CursorFile {
 public:
  // Keyed by server.
  using Positions = WatchPositions;
  // Reads the file, which another process may have open. NOT_FOUND: there is no such file. Other
  // errors: see Open().
  static absl::StatusOr<Positions> Read(const std::string& path);
  // Reads the file, if it exists. FAILED_PRECONDITION: it is a link, not a regular file, or not a
  // cursor, or another process has it open. If one position is stored and `servers` has one server,
  // the position is for that server, even if its address has changed: if it is another node, that
  // node's answer shows it.
  static absl::StatusOr<std::unique_ptr<CursorFile>> Open(std::string path,
                                                          const std::vector<std::string>& servers);

  // Positions from which to resume, for the servers that have one.
  const Positions& positions() const { return positions_; }
  std::optional<WatchPosition> Find(const std::string& server) const;
  // Stores the position. When it returns OK, the position survives a crash. Does nothing if it is
  // already stored.
  absl::Status Save(const std::string& server, const WatchPosition& position);

 private:
  explicit CursorFile(std::string path) : path_(std::move(path)) {}

  const std::string path_;
  UniqueFd lock_;
  Positions positions_;
};

}  // namespace vmeventd::client
