#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/eventlog/sqlite.h"
#include "server/events/event_matcher.h"
#include "server/events/event_page.h"
#include "server/events/event_record.h"
#include "server/events/logged_event.h"

namespace vmeventd {

struct Hole;

// Reads the journal's events while its writer writes, on its own connection. A call sees what was
// committed when it began. An event whose row is garbled is replaced by a GAP. DATA_LOSS: the
// journal is damaged, as CheckDatabase() confirms. UNAVAILABLE, with the reason
// JOURNAL_UNAVAILABLE: it cannot be read now. One thread at a time.
class JournalReader {
 public:
  // Call it when the journal is open. UNAVAILABLE: the file cannot be opened now.
  static absl::StatusOr<std::unique_ptr<JournalReader>> Open(const std::string& path);

  using Take = absl::FunctionRef<bool(const EventRecord&)>;
  // Adds the events of [first, last] that pass to `page`, until it is full or its time is over, and
  // returns the sequence up to which it looked. Deleted events are replaced by a GAP at the first
  // of them. OUT_OF_RANGE: retention has deleted everything up to `first`.
  absl::StatusOr<uint64_t> Read(uint64_t first, uint64_t last, Take passes, EventPage* page);
  // Returns the sequence at which the events since `time` (InfinitePast: all) begin, perhaps with a
  // GAP. OUT_OF_RANGE: `time` is before every retained event, and events that may be newer than it
  // were deleted.
  absl::StatusOr<uint64_t> Locate(absl::Time time);

  // Calls `take` with the events of [first, last], in either order, until it returns false. May
  // skip events that `matcher` excludes by their VM's name. Calls `has_time` between groups of
  // sequences, and ends if that returns false. Returns the sequence that comes next; 0: there is
  // none.
  absl::StatusOr<uint64_t> Select(const EventMatcher& matcher, uint64_t first, uint64_t last,
                                  bool newest_first, Take take, absl::FunctionRef<bool()> has_time);

  // Finds the first and the last sequence between which all events of [start, end) are; the first
  // is larger than the last if there are none. OUT_OF_RANGE: the event `from` (unless 0) was
  // deleted.
  absl::StatusOr<std::pair<uint64_t, uint64_t>> Within(absl::Time start, absl::Time end,
                                                       uint64_t from);

 private:
  explicit JournalReader(const std::string& path) : path_(path) { database_.emplace(path); }

  // The connection, for a call that begins.
  SqliteDatabase& Connect();
  // The status of `error`. After damage that SQLite reports the next call opens another connection.
  // Checks the file, and logs a warning, once in kCheckPause while the failure is the same.
  absl::Status Failure(const SQLite::Exception& error);
  static constexpr absl::Duration kCheckPause = absl::Seconds(10);
  // The first sequence that was observed at `time` or later; 0: there is none.
  uint64_t FirstSince(absl::Time time);
  // The GAP `sequence`, which names `missing`.
  EventPtr RetentionGap(uint64_t sequence, const Hole& missing);

  const std::string path_;
  std::optional<SqliteDatabase> database_;  // unset: not connected
  bool stale_ = false;                      // a read failed on this connection
  absl::Status damage_;                     // once it was confirmed
  // The last failure: SQLite's message, what it was found to be, and when.
  int failure_ = 0;
  absl::Status judged_;
  absl::Time judged_at_ = absl::InfinitePast();
};

// OUT_OF_RANGE: `what` is no longer retained, and the oldest retained sequence is `oldest`.
absl::Status RetentionPassed(absl::string_view what, uint64_t oldest);

}  // namespace vmeventd
