#ifndef VMEVENTD_SERVER_JOURNAL_READ_QUEUE_H_
#define VMEVENTD_SERVER_JOURNAL_READ_QUEUE_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/fair_queue.h"
#include "base/mutex.h"
#include "server/events/live_state.h"
#include "server/journal/journal_reader.h"

namespace vmeventd {

// The thread that reads the journal, for streams that are behind the ring and for queries, so that
// nobody else ever waits for the disk. It works in turns: streams go before queries, but for every
// eighth turn, and peers alternate, so that neither many queries of one peer nor a long one hold
// another up.
class JournalReadQueue {
 public:
  // Queries that may wait: in all, and of one peer. Where all places are taken the peer with the
  // most loses its latest one to a peer with fewer. Streams have one task each at the most, and are
  // bounded themselves.
  static constexpr size_t kMaxQueries = 1'000;
  static constexpr size_t kMaxQueriesPerPeer = 500;

  // One turn of a task: gets the reader, or why there is none; returns how the reading went. Takes
  // some milliseconds at the most, and is not called again.
  using Task = std::function<absl::Status(absl::StatusOr<JournalReader*>)>;
  // The same for what may take several turns: false: call it again. Called until it returns true or
  // an error, at least once.
  struct Query {
    std::function<absl::StatusOr<bool>(absl::StatusOr<JournalReader*>)> turn;
    // Whether nobody waits for the answer any longer; then the next turn gets CANCELLED.
    std::function<bool()> cancelled;
  };
  // Called on the history thread: a journal, by its id, is corrupt, or could not be read (see
  // IsReadError).
  using CorruptListener = std::function<void(const std::string&, const absl::Status&)>;

  // `path`: of the database. `live_state` outlives the queue.
  JournalReadQueue(std::string path, const LiveState* live_state, CorruptListener corrupt)
      : path_(std::move(path)), live_state_(live_state), corrupt_(std::move(corrupt)) {}

  // Any thread.
  void PostForStream(const std::string& peer, Task task);
  // A query that finds no place gets RESOURCE_EXHAUSTED as its reader, on the caller's thread.
  void PostQuery(const std::string& peer, Query query);

  // Does tasks until Stop; those that come afterwards fail with UNAVAILABLE. The queue's thread.
  void Run();
  // Does one turn of what waits; false: nothing did. For tests.
  bool RunTurn();
  void Stop();

 private:
  struct Waiting {
    std::string peer;
    Query query;
  };

  bool idle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return streams_.empty() && queries_.empty();
  }
  // Whether the next turn is a stream's. Something waits.
  bool StreamIsNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void RunStream(const Task& task);
  void RunQuery(Waiting waiting);
  // Reports the journal as corrupt or not readable, if `status` says so.
  void CheckCorrupt(const absl::Status& status);
  // The reader of the journal that is in use now, or why there is none.
  absl::StatusOr<JournalReader*> Reader();

  const std::string path_;
  const LiveState* const live_state_;
  const CorruptListener corrupt_;
  std::string journal_id_;  // of reader_
  std::unique_ptr<JournalReader> reader_;

  Mutex mutex_;
  CondVar changed_;
  FairQueue<Task> streams_ ABSL_GUARDED_BY(mutex_);
  FairQueue<Waiting> queries_ ABSL_GUARDED_BY(mutex_);
  int stream_turns_ ABSL_GUARDED_BY(mutex_) = 0;  // since the last turn of a query
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_JOURNAL_READ_QUEUE_H_
