#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/system.h"
#include "client/output/node_event.h"

namespace vmeventd::client {

// Takes the lock `path`, a file that is made where it is missing, until the result is closed.
// FAILED_PRECONDITION, with the sentence `in_use`: another process has it.
absl::StatusOr<UniqueFd> LockFile(const std::string& path, absl::string_view in_use);

// The file that keeps how far a consumer has come with each server, so that it continues there
// after a restart. JSON:
//   {"vmevents_cursor": 1,
//    "positions": [{"server": "node1:9555", "journal_id": "...", "sequence": "42"}]}
// A position in the stream of a fleet has "message_time" as well, where it is known.
// One thread, and one process: it has a lock beside the file, ".FILE.lock".
class CursorFile {
 public:
  // Reads the file, which need not exist. FAILED_PRECONDITION: it is a link, no regular file, or
  // holds no cursor, or another process has it. One stored position belongs to one server, whatever
  // its address is now: if it is another node, that node's answer shows it.
  static absl::StatusOr<std::unique_ptr<CursorFile>> Open(std::string path,
                                                          const std::vector<std::string>& servers);

  // Position at which to continue with the server; none: it has none yet.
  std::optional<WatchPosition> Find(const std::string& server) const;
  // Stores the position, and returns when it survives a crash. Does nothing if it is stored
  // already.
  absl::Status Save(const std::string& server, const WatchPosition& position);

 private:
  explicit CursorFile(std::string path) : path_(std::move(path)) {}

  const std::string path_;
  UniqueFd lock_;
  std::map<std::string, WatchPosition> positions_;  // keyed by server
};

}  // namespace vmeventd::client
