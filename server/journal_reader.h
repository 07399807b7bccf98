#ifndef VMEVENTD_SERVER_JOURNAL_READER_H_
#define VMEVENTD_SERVER_JOURNAL_READER_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/event_block.h"
#include "server/sqlite.h"

namespace vmeventd {

// Reads the journal's events beside its writer, on a connection of its own. Sees what was committed
// when a call begins. DATA_LOSS: a row is corrupt. One thread at a time.
class JournalReader {
 public:
  static absl::StatusOr<std::unique_ptr<JournalReader>> Open(const std::string& path);

  // Events in order from `sequence` on, none past `last`, as blocks of about `max_bytes` together
  // (at least one event if there is one). Where `sequence` is no longer kept the first block begins
  // later.
  absl::StatusOr<std::vector<EventBlockPtr>> ReadFrom(uint64_t sequence, uint64_t last,
                                                      size_t max_bytes);

  // The first sequence that was observed at `time` or later; 0 if there is none.
  absl::StatusOr<uint64_t> FirstSince(absl::Time time);

 private:
  explicit JournalReader(SqliteDatabase database) : database_(std::move(database)) {}

  SqliteDatabase database_;
  std::unique_ptr<SqliteStatement> read_from_;
  std::unique_ptr<SqliteStatement> first_since_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_JOURNAL_READER_H_
