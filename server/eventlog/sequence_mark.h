#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/unique_fd.h"

namespace vmeventd {

// Makes the names of files durable that were made or moved in the directory of `path`.
absl::Status SyncDirectoryOf(const std::string& path);

// Position up to which events are committed and published, in a small file beside the journal. From
// it the next start learns what the journal itself does not show: that a commit was lost with the
// end of a damaged log, or that events were published while the journal could not be written. So no
// sequence is ever given twice. Written in place, so that a full disk does not stop it. It outlives
// the daemon's kill. A loss of the host's power may take it back to what was synced last: that is
// enough where the journal holds all that was published; otherwise its user syncs it. One thread.
class SequenceMark {
 public:
  struct Value {
    std::string journal_id;
    uint64_t committed = 0;
    uint64_t published = 0;
  };

  // Opens the file, or makes it with the size that it keeps. What is in it is read; anything else
  // than a mark counts as none.
  static absl::StatusOr<std::unique_ptr<SequenceMark>> Open(const std::string& path);

  // As read by Open, or as set last.
  const Value& value() const { return value_; }
  // The value, if it is of that journal; else zeros.
  Value Of(const std::string& journal_id) const;
  absl::Status Set(const Value& value);
  // The value is durable when it returns OK.
  absl::Status Sync();

 private:
  SequenceMark(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

  const std::string path_;
  const UniqueFd fd_;
  Value value_;
};

}  // namespace vmeventd
