#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/fair_queue.h"
#include "base/mutex.h"
#include "server/eventlog/journal_reader.h"
#include "server/eventlog/live_state.h"

namespace vmeventd {

// The thread that reads the journal, for streams that are behind the ring and for queries, so that
// nobody else ever waits for the disk. It works in turns: streams go before queries, but for every
// eighth turn, and peers alternate, so that neither many queries of one peer nor a long one hold
// another up.
class JournalReadQueue {
 public:
  // One turn of a task: gets the reader, or why there is none; returns how the reading went. Takes
  // some milliseconds at the most, and is not called again.
  using Task = std::function<absl::Status(absl::StatusOr<JournalReader*>)>;
  // Reports a journal, by its id, as corrupt or not readable (see IsReadError). History thread.
  using CorruptReport = std::function<void(const std::string&, const absl::Status&)>;

  // `path` is the database's. `live_state` outlives the queue.
  JournalReadQueue(std::string path, const LiveState* live_state, CorruptReport corrupt)
      : path_(std::move(path)), live_state_(live_state), corrupt_(std::move(corrupt)) {}

  // Any thread.
  void PostForStream(const std::string& peer, Task task);
  // See EventLog.
  void PostQuery(const std::string& peer, HistoryQuery query);

  // Does tasks until Stop; those that come afterwards fail with UNAVAILABLE. The queue's thread.
  void Run();
  // Runs one pending turn; false: none was pending. For tests.
  bool RunTurn();
  void Stop() {
    const MutexLock lock(&mutex_);
    stopped_ = true;
    changed_.NotifyAll();
  }

 private:
  struct Waiting {
    std::string peer;
    HistoryQuery query;
  };

  bool idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return streams_.empty() && queries_.empty();
  }
  // Returns whether the next turn is a stream's. Requires a pending task.
  bool StreamIsNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RunQuery(Waiting waiting) ABSL_EXCLUSIVE_LOCKS_REQUIRED(history_);
  // Reports the journal as corrupt or not readable, if `status` says so.
  void CheckCorrupt(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(history_);
  // The reader of the journal that is in use now, or why there is none.
  absl::StatusOr<JournalReader*> Reader() ABSL_EXCLUSIVE_LOCKS_REQUIRED(history_);

  const std::string path_;
  const LiveState* const live_state_;
  const CorruptReport corrupt_;
  ThreadRole history_;
  std::string journal_id_ ABSL_GUARDED_BY(history_);  // journal of reader_
  std::unique_ptr<JournalReader> reader_ ABSL_GUARDED_BY(history_);

  Mutex mutex_;
  CondVar changed_;
  FairQueue<Task> streams_ ABSL_GUARDED_BY(mutex_);
  FairQueue<Waiting> queries_ ABSL_GUARDED_BY(mutex_);
  int stream_turns_ ABSL_GUARDED_BY(mutex_) = 0;  // streams' turns since the last one of a query
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vmeventd
