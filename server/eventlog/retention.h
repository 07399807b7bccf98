#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/eventlog/schema.h"
#include "server/eventlog/sqlite.h"

namespace vmeventd {

// The time by which retention judges how old events are: the node's, but for a step ahead, which
// counts only once it has lasted. A clock that is a year ahead for a while, as after a boot with a
// wrong hardware clock, must not delete the whole history. Pure; one thread.
class RetentionClock {
 public:
  // A step ahead of more than this is not believed at once, and believed after kHold.
  static constexpr absl::Duration kMaxStep = absl::Hours(1);
  static constexpr absl::Duration kHold = absl::Hours(24);
  // The same where the daemon has not run meanwhile.
  static constexpr absl::Duration kMaxAbsence = absl::Hours(24 * 180);

  // `newest`: when the newest event was observed; InfinitePast if there is none.
  explicit RetentionClock(absl::Time newest) : newest_(newest) {}

  // The time that counts. `now` never goes back on the monotonic clock.
  absl::Time Read(Instant now) {
    const absl::Time origin = now.wall - now.monotonic;
    if (!origin_.has_value()) {
      const bool believed = newest_ == absl::InfinitePast() || now.wall - newest_ <= kMaxAbsence;
      origin_ = believed ? origin : newest_ - now.monotonic;
    }
    const bool held_long_enough = until_.has_value() && now.monotonic >= *until_;
    if (origin - *origin_ <= kMaxStep || held_long_enough) {
      origin_ = origin;
      until_.reset();
    } else if (!until_.has_value()) {
      until_ = now.monotonic + kHold;
      step_ = origin - *origin_;
    }
    return *origin_ + now.monotonic;
  }
  // Steps by which the clock went ahead, once for each step that is not believed yet.
  std::optional<absl::Duration> TakeStep() { return std::exchange(step_, std::nullopt); }

 private:
  const absl::Time newest_;
  std::optional<absl::Time> origin_;     // the believed time at which the monotonic clock was 0
  std::optional<absl::Duration> until_;  // of the monotonic clock: the step is believed then
  std::optional<absl::Duration> step_;
};

// Limits of a journal.
struct RetentionLimits {
  absl::Duration age;
  int64_t events = 0;
  // Excess that Append leaves to idle steps.
  int64_t slack() const { return events / 100; }
};

// Deletes a journal's oldest events, within a transaction of its writer: a block goes when all of
// its events are deleted; until then `retained_from` says which are left. An event whose time is in
// the future was given it by a clock that was ahead: it is as old as the first event behind it that
// is not. The newest event stays. The writer's thread.
class Retention {
 public:
  // `database` outlives it.
  static absl::StatusOr<Retention> Create(SqliteDatabase* database, RetentionLimits limits);

  // Events beyond the limit of their number.
  int64_t Excess(const JournalBounds& bounds) const;

  // Deletes at most `max_rows` events, and moves `bounds` on.
  absl::Status DeleteOld(absl::Time now, int64_t max_rows, JournalBounds* bounds);

 private:
  explicit Retention(SqliteDatabase* database, RetentionLimits limits)
      : database_(database), limits_(limits) {}

  // When the first event behind `sequence` whose time is not after `now` was observed, and which it
  // is; nothing: there is none.
  absl::StatusOr<std::optional<std::pair<int64_t, int64_t>>> NextInPast(int64_t sequence,
                                                                        int64_t now);
  // Deletes the holes before `oldest`, but for the one that ends there: the GAP at `oldest` names
  // it.
  absl::Status DeleteHolesBefore(uint64_t oldest, JournalBounds* bounds);

  SqliteDatabase* database_;
  RetentionLimits limits_;
  std::unique_ptr<SqliteStatement> blocks_from_;
  std::unique_ptr<SqliteStatement> next_in_past_;
  std::unique_ptr<SqliteStatement> put_deleted_until_;
  std::unique_ptr<SqliteStatement> put_retained_from_;
  std::unique_ptr<SqliteStatement> delete_blocks_;
  std::unique_ptr<SqliteStatement> missing_between_;
  std::unique_ptr<SqliteStatement> delete_holes_;
};

}  // namespace vmeventd
