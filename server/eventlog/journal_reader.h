#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/eventlog/sqlite.h"
#include "server/events/event_block.h"
#include "server/events/event_matcher.h"

namespace vmeventd {

struct JournalPage {
  std::vector<EventBlockPtr> blocks;
  uint64_t through = 0;  // no retained event up to it is left
};

// Reads the journal's events while its writer writes, on a connection of its own. Sees what was
// committed when a call begins. DATA_LOSS: the journal is damaged. One thread at a time.
class JournalReader {
 public:
  // The journal is open. UNAVAILABLE: the file cannot be opened now.
  static absl::StatusOr<std::unique_ptr<JournalReader>> Open(const std::string& path);

  // Reads the events [first, page.through], about `max_bytes` of them, and none behind `last`.
  // A GAP stands for those that retention has deleted, with the sequence of the last of them.
  // OUT_OF_RANGE: retention has deleted all up to the first one.
  absl::StatusOr<JournalPage> Read(uint64_t first, uint64_t last, size_t max_bytes);
  // Returns the sequence at which the events since `time` begin, perhaps with a GAP; InfinitePast:
  // all. OUT_OF_RANGE: it is before every retained event, and some that may have been observed
  // since then were deleted.
  absl::StatusOr<uint64_t> Locate(absl::Time time);

  // Calls `take` with the events of [first, last] in either order, until it returns false. Of
  // events that `matcher` excludes by their VM's name some may be missing. Between groups of
  // sequences it asks `has_time`, with the next sequence; false ends the call.
  using Take = absl::FunctionRef<bool(const EventBlock::Entry&, absl::string_view stored)>;
  absl::Status Select(const EventMatcher& matcher, uint64_t first, uint64_t last, bool newest_first,
                      Take take, absl::FunctionRef<bool(uint64_t next)> has_time);

  // Finds the sequences among which all events of [start, end) are; the first is larger than the
  // last if there are none.
  absl::StatusOr<std::pair<uint64_t, uint64_t>> Within(absl::Time start, absl::Time end);
  // Every event up to this one was deleted.
  absl::StatusOr<uint64_t> Deleted();

 private:
  explicit JournalReader(SqliteDatabase database) : database_(std::move(database)) {}

  // Runs `near`, which searches the likely end of the journal in the order of sequences, and if it
  // finds nothing, `all`, in the order of times.
  uint64_t FindTime(const char* near, const char* all, absl::Time time);
  // The first sequence that was observed at `time` or later; 0: there is none.
  uint64_t FirstSince(absl::Time time);
  // A block with the GAP `last`, which names [first, last].
  EventBlockPtr RetentionGap(uint64_t first, uint64_t last);

  SqliteDatabase database_;
};

}  // namespace vmeventd
