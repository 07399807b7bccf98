#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace vmeventd {

// Makes the names of files that were created or moved in the directory of `path` durable.
absl::Status SyncDirectoryOf(const std::string& path);

// Position up to which events are committed and published, in a small file beside the journal. It
// shows the next start what the journal itself does not show: that a commit was lost with the end
// of a damaged log, or that events were published while the journal could not be written. So no
// sequence is ever given twice. Written in place, so that a full disk does not stop it. It outlives
// the daemon's kill. A loss of the host's power may take it back to what was synced last: that is
// enough if the journal holds all that was published; otherwise its user syncs it. One thread.
class SequenceMark {
 public:
  struct Value {
    std::string journal_id;
    uint64_t committed = 0;
    uint64_t published = 0;
  };

  // Opens and reads the file, or creates it with its final size. Contents that are no mark count as
  // none.
  static absl::StatusOr<std::unique_ptr<SequenceMark>> Open(const std::string& path);

  // Value as read by Open, or as set last.
  const Value& value() const { return value_; }
  // Returns the value if it is that journal's, else zeros.
  Value Of(const std::string& journal_id) const {
    return value_.journal_id == journal_id ? value_ : Value{journal_id, 0, 0};
  }
  absl::Status Set(const Value& value);
  // Makes the value durable.
  absl::Status Sync();

 private:
  SequenceMark(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  const std::string path_;
  const UniqueFd fd_;
  Value value_;
};

}  // namespace vmeventd
