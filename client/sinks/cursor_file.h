#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/system.h"
#include "client/output/node_event.h"
#include "client/sources/servers.h"

namespace vmeventd::client {

// The file that stores how far a consumer has come with each server, so that it continues there
// after a restart: an internal::Cursor as JSON.
// One thread, and one process: it has a lock beside the file, ".FILE.lock".
class CursorFile {
 public:
  // Keyed by server.
  using Positions = WatchPositions;
  // The file's content, which another process may write. NOT_FOUND: there is no such file. Other
  // errors: see Open().
  static absl::StatusOr<Positions> Read(const std::string& path);
  // Reads the file, which need not exist. FAILED_PRECONDITION: it is a link, no regular file, or
  // not a cursor, or another process has it. One stored position belongs to one server, whatever
  // its address is now: if it is another node, that node's answer shows it.
  static absl::StatusOr<std::unique_ptr<CursorFile>> Open(std::string path,
                                                          const std::vector<std::string>& servers);

  // Positions at which to continue, of the servers that have one.
  const Positions& positions() const { return positions_; }
  std::optional<WatchPosition> Find(const std::string& server) const;
  // Stores the position, and returns when it survives a crash. Does nothing if it is stored
  // already.
  absl::Status Save(const std::string& server, const WatchPosition& position);

 private:
  explicit CursorFile(std::string path) : path_(std::move(path)) {}

  const std::string path_;
  UniqueFd lock_;
  Positions positions_;
};

}  // namespace vmeventd::client
