#ifndef VMEVENTD_SERVER_JOURNAL_READER_H_
#define VMEVENTD_SERVER_JOURNAL_READER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/event_block.h"
#include "server/event_matcher.h"
#include "server/sqlite.h"

namespace vmeventd {

// Reads the journal's events beside its writer, on a connection of its own. Sees what was committed
// when a call begins. DATA_LOSS: the journal is corrupt. One thread at a time.
class JournalReader {
 public:
  static absl::StatusOr<std::unique_ptr<JournalReader>> Open(const std::string& path);

  // Which journal it reads: its file may have been replaced just before it was opened.
  const std::string& journal_id() const { return journal_id_; }

  // Events in order from `first` on, none past `last`, as blocks of about `max_bytes` together (at
  // least one event if there is one). What was given up while the disk was full is missing.
  // OUT_OF_RANGE: retention has deleted some of them.
  struct Page {
    std::vector<EventBlockPtr> blocks;
    uint64_t through = 0;  // the page is complete up to here
  };
  absl::StatusOr<Page> ReadFrom(uint64_t first, uint64_t last, size_t max_bytes);
  // The same of what was read last, where it is still at hand: many streams that replay side by
  // side, as after a restart, read each page once.
  absl::StatusOr<Page> ReadShared(uint64_t first, uint64_t last, size_t max_bytes);

  // The events of the sequences [first, last] that pass `matcher` and were observed in
  // [start, end), in either order. `take` gets each, with its encoding, until it returns false.
  struct Selection {
    const EventMatcher* matcher;
    absl::Time start;
    absl::Time end;
    uint64_t first;
    uint64_t last;
    bool newest_first;
  };
  using Take = std::function<bool(const EventBlock::Entry&, absl::string_view encoded)>;
  absl::Status Select(const Selection& selection, const Take& take);

  // The first sequence that was observed at `time` or later; 0 if there is none.
  absl::StatusOr<uint64_t> FirstSince(absl::Time time);
  // A sequence after which none was observed before `time`, as low as can be said without looking
  // at each; 0 if there is no event.
  absl::StatusOr<uint64_t> LastBefore(absl::Time time);

 private:
  explicit JournalReader(SqliteDatabase database) : database_(std::move(database)) {}

  // The number that `statement` gives, 0 for none.
  static absl::StatusOr<uint64_t> Query(SqliteStatement* statement);
  // For events [first, last] that were not found: OK where they were given up, or are yet to come;
  // OUT_OF_RANGE where retention has deleted `first`; DATA_LOSS otherwise.
  absl::Status CheckMissing(uint64_t first, uint64_t last);

  struct SharedPage {
    uint64_t first = 0;
    size_t max_bytes = 0;
    Page page;
  };
  // Full pages, the newest last.
  std::deque<SharedPage> shared_;

  // What the SQL function name_matches() asks.
  const EventMatcher* selecting_ = nullptr;
  const std::function<bool(absl::string_view)> name_matches_ = [this](absl::string_view name) {
    return selecting_->names().Matches(name);
  };
  SqliteDatabase database_;
  std::string journal_id_;
  std::unique_ptr<SqliteStatement> read_from_;
  std::unique_ptr<SqliteStatement> oldest_;
  std::unique_ptr<SqliteStatement> newest_;
  std::unique_ptr<SqliteStatement> hole_to_;
  std::unique_ptr<SqliteStatement> time_at_;
  std::unique_ptr<SqliteStatement> step_after_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_JOURNAL_READER_H_
