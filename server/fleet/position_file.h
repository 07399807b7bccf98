#pragma once

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"
#include "server/fleet/fleet_position.h"

namespace vmeventd {

// Position up to which the journal is published, in a small file beside it (docs/journal.md).
// Written in place: it outlives the daemon's kill. A loss of the host's power may take it back; the
// stream itself says then how far it came. One thread.
class PositionFile {
 public:
  // Opens or creates the file. `target` names the stream and the node's place in it; a position
  // written for another target counts as none.
  static absl::StatusOr<std::unique_ptr<PositionFile>> Open(const std::string& path,
                                                            const std::string& target);

  // The other target for which the file was written, as Open has read it; empty: there was none.
  const std::string& target_before() const { return target_before_; }
  // Position as read by Open, or as set last; an empty journal_id: there is none.
  const FleetPosition& value() const { return value_; }
  absl::Status Set(const FleetPosition& value);

 private:
  PositionFile(std::string path, std::string target, UniqueFd fd)
      : path_(std::move(path)), target_(std::move(target)), fd_(std::move(fd)) {}

  const std::string path_;
  const std::string target_;
  const UniqueFd fd_;
  std::string target_before_;
  FleetPosition value_;
};

}  // namespace vmeventd
