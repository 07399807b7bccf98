#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/turn_queue.h"
#include "server/eventlog/journal_reader.h"

namespace vmeventd {

// A query of the journal, which may take several turns. Each turn gets the journal's reader, or the
// reason why there is none, takes some milliseconds at most, and returns whether it was the last.
using HistoryQuery = std::function<absl::StatusOr<bool>(const absl::StatusOr<JournalReader*>&)>;

// Reads the journal for queries, on one thread, the caller of Run() or RunTurn(). Peers alternate.
// Any thread, unless stated otherwise.
class History {
 public:
  // Time after which a turn that waits for the disk counts as hung.
  static constexpr absl::Duration kMaxRead = absl::Seconds(10);

  // Callbacks to the log: whether the journal is open, and that a read failed. Called on the thread
  // that reads.
  struct Owner {
    std::function<absl::Status()> check_open;  // an error: it is not open, and the message says so
    std::function<void(const absl::Status&)> on_error;  // a read has failed
  };
  // `path`: of the journal's file. `clock` outlives it.
  History(std::string path, const Clock* clock, Owner owner)
      : path_(std::move(path)), clock_(clock), owner_(std::move(owner)) {}

  // After Stop, calls the first turn at once, with UNAVAILABLE.
  void Post(const std::string& peer, const HistoryQuery& query);
  // UNAVAILABLE: the turn of a query has waited for the disk for kMaxRead.
  absl::Status CheckReads() const;
  // Does turns until Stop, and then those that still wait.
  void Run() { turns_.Run(); }
  // Does one turn; false: nothing waits.
  bool RunTurn() { return turns_.RunTurn(); }
  void Stop() { turns_.Stop(); }

 private:
  // The journal's reader, or why there is none. The thread that reads.
  absl::StatusOr<JournalReader*> Reader();
  void SetReading(absl::Duration since) {
    const MutexLock lock(&mutex_);
    reading_since_ = since;
  }

  const std::string path_;
  const Clock* const clock_;
  const Owner owner_;
  TurnQueue turns_;
  std::unique_ptr<JournalReader> reader_;  // the thread that reads
  mutable Mutex mutex_;
  // Begin of the turn; infinite: there is none.
  absl::Duration reading_since_ ABSL_GUARDED_BY(mutex_) = absl::InfiniteDuration();
};

}  // namespace vmeventd
