#ifndef VMEVENTD_SERVER_HISTORY_H_
#define VMEVENTD_SERVER_HISTORY_H_

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/event_store.h"
#include "server/journal_reader.h"
#include "watcher/io/mutex.h"

namespace vmeventd {

// The thread that reads the journal, for streams that are behind the ring and for queries, so that
// nobody else ever waits for the disk. Its tasks are done in turn.
class History {
 public:
  // Queries that may wait. Streams have one task each at the most, and are bounded themselves.
  static constexpr size_t kMaxQueries = 1000;

  // Gets the reader, or why there is none; returns how the reading went. Must not block. Called
  // exactly once.
  using Task = std::function<absl::Status(absl::StatusOr<JournalReader*>)>;
  // Told on the history thread that a journal, by its id, is corrupt.
  using CorruptListener = std::function<void(const std::string&, const absl::Status&)>;

  // `path`: of the database. `store` outlives the history.
  History(std::string path, const EventStore* store, CorruptListener corrupt)
      : path_(std::move(path)), store_(store), corrupt_(std::move(corrupt)) {}

  // Any thread.
  void PostForStream(Task task);
  // RESOURCE_EXHAUSTED: too many wait already.
  absl::Status PostQuery(Task task);

  // Does tasks until Stop; those that come afterwards fail with UNAVAILABLE. History thread.
  void Run();
  void Stop();

 private:
  struct Entry {
    Task task;
    bool query;
  };

  void Post(Entry entry);
  void Do(const Task& task);
  // The reader of the journal that is in use now.
  absl::StatusOr<JournalReader*> Reader();

  const std::string path_;
  const EventStore* const store_;
  const CorruptListener corrupt_;
  std::string journal_id_;  // of reader_
  std::unique_ptr<JournalReader> reader_;

  Mutex mutex_;
  CondVar changed_;
  std::deque<Entry> tasks_ ABSL_GUARDED_BY(mutex_);
  size_t queries_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_HISTORY_H_
