#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/eventlog/event_log.h"
#include "server/eventlog/schema.h"
#include "server/eventlog/sqlite.h"
#include "server/events/event_block.h"
#include "server/events/event_matcher.h"

namespace vmeventd {

// Reads the journal's events beside its writer, on a connection of its own. Sees what was committed
// when a call begins. DATA_LOSS: the journal is corrupt. One thread at a time.
class JournalReader {
 public:
  // UNAVAILABLE: the file has no tables yet, or cannot be opened now.
  static absl::StatusOr<std::unique_ptr<JournalReader>> Open(const std::string& path);

  // Identity of the journal that it reads: its file may have been replaced just before it was
  // opened.
  const std::string& journal_id() const { return journal_id_; }

  // Events in order from `first` on, none past `last`, as blocks of about `max_bytes` together (at
  // least one event if there is one). What was given up while the disk was full is missing.
  // OUT_OF_RANGE: retention has deleted some of them.
  absl::StatusOr<HistoryAnswer> ReadFrom(uint64_t first, uint64_t last, size_t max_bytes);
  // The first events that were observed at `time` or later, in the order of their sequences, and
  // all that follow them; InfinitePast: from the oldest event on. Found and read in one view, so
  // that retention cannot come between. OUT_OF_RANGE: `time` is before every retained event, and
  // some that may have been observed since then were deleted. Without such an event `first` is
  // behind the newest.
  absl::StatusOr<HistoryAnswer> ReadSince(absl::Time time, size_t max_bytes);
  // Cached variant of ReadFrom, which answers from the pages read last: many streams that replay
  // side by side, as after a restart, read each page once.
  absl::StatusOr<HistoryAnswer> ReadShared(uint64_t first, uint64_t last, size_t max_bytes);

  // Answers what a Read left to the journal, with about `max_bytes` of events.
  absl::StatusOr<HistoryAnswer> Answer(const HistoryRequest& request, size_t max_bytes);

  // The events of the sequences [first, last], which are retained, in either order, without those
  // of which the block, or the type and class, say that they do not pass `matcher` or were not
  // observed in [start, end). `take` gets each, with its encoding, until it returns false, and
  // looks at the rest: what that costs is bounded there.
  struct Selection {
    const EventMatcher* matcher;
    absl::Time start;
    absl::Time end;
    uint64_t first;
    uint64_t last;
    bool newest_first;
  };
  // Gives several calls one view of the database while it lives.
  ReadSnapshot Snapshot() { return ReadSnapshot(&database_); }
  // The oldest event that is retained; 0 if there is none.
  absl::StatusOr<uint64_t> Oldest() { return OldestOf(&database_); }
  // See Journal::unbroken_from; 0 if no event is retained.
  absl::StatusOr<uint64_t> UnbrokenFrom();

  using Take = std::function<bool(const EventBlock::Entry&, absl::string_view encoded)>;
  absl::Status Select(const Selection& selection, const Take& take);

  // The first sequence that was observed at `time` or later; 0 if there is none.
  absl::StatusOr<uint64_t> FirstSince(absl::Time time);
  // A sequence after which none was observed before `time`, as low as can be determined without
  // examining each event; 0 if there is no event.
  absl::StatusOr<uint64_t> LastBefore(absl::Time time);

 private:
  explicit JournalReader(SqliteDatabase database) : database_(std::move(database)) {}

  // OUT_OF_RANGE: see ReadSince.
  absl::Status CheckReaches(absl::Time time);
  // The earliest observe_time, in nanoseconds, of the events from `oldest` on.
  absl::StatusOr<int64_t> EarliestFrom(uint64_t oldest);
  // The newest event, or the sequence after which a journal begins that has none yet.
  absl::StatusOr<uint64_t> Newest();
  // Explains why events [first, last] were not found: OK if they were given up, or are yet to come;
  // OUT_OF_RANGE if retention has deleted `first`; DATA_LOSS otherwise.
  absl::Status CheckMissing(uint64_t first, uint64_t last);

  struct SharedPage {
    size_t max_bytes = 0;
    HistoryAnswer page;
  };
  // Full pages, the newest last.
  std::deque<SharedPage> shared_;

  SqliteDatabase database_;
  std::string journal_id_;
};

}  // namespace vmeventd
