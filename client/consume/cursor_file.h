#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace vmeventd::client {

// Position at which a later watch continues: after `sequence` of that journal, or of that stream of
// a fleet.
struct WatchPosition {
  uint64_t sequence = 0;
  std::string journal_id;  // empty: there is no position yet
  // The id of a fleet's message at `sequence`, and when it was stored: the stream is recognised by
  // them. Empty, or in the infinite past: not known.
  std::string message_id;
  absl::Time message_time = absl::InfinitePast();
  // Earlier events are left out, after a fleet's stream was replaced by another one.
  absl::Time since = absl::InfinitePast();

  bool operator==(const WatchPosition&) const = default;
};

// The file that keeps how far a consumer has come with each server, so that it continues there
// after a restart. JSON:
//   {"vmevents_cursor": 1,
//    "positions": [{"server": "node1:9555", "journal_id": "...", "sequence": "42"}]}
// A position in the stream of a fleet has "message_id", "message_time" and "since" as well, where
// these are known.
// One thread, one process.
class CursorFile {
 public:
  // Reads the file, which need not exist. FAILED_PRECONDITION: it is a link, no regular file, or
  // holds no cursor. One stored position belongs to one server, whatever its address is now: if it
  // is another node, that node's answer shows it.
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
  std::map<std::string, WatchPosition> positions_;  // by server
};

}  // namespace vmeventd::client
