#ifndef VMEVENTD_SERVER_JOURNAL_BOUNDS_H_
#define VMEVENTD_SERVER_JOURNAL_BOUNDS_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/journal/sqlite.h"

namespace vmeventd {

// From where to where a journal reaches, as one transaction changes it.
struct JournalBounds {
  uint64_t newest = 0;  // sequence ever written, or after which the journal begins
  uint64_t oldest = 1;  // that is kept; newest + 1 if none is
  // `oldest`, or the first of the sequences that were given up just before it.
  uint64_t unbroken_from = 1;
  absl::Time oldest_time;                         // of the event `oldest`, where there is one
  absl::Time latest_time = absl::InfinitePast();  // of all events up to `newest`
  absl::Time deleted_until = absl::InfinitePast();
  int64_t missing = 0;  // sequences from `oldest` to `newest` without an event
  int64_t stops = 0;    // rows
};

// Reads them. DATA_LOSS: they are not what a journal writes; `path` is for the error.
absl::StatusOr<JournalBounds> ReadBounds(SqliteDatabase* database, const std::string& path);

// The first sequence of the hole that ends before `sequence`; `sequence` if none does.
absl::StatusOr<uint64_t> BeginOfHoleBefore(SqliteDatabase* database, uint64_t sequence);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_JOURNAL_BOUNDS_H_
