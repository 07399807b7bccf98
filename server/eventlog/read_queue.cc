#include "server/eventlog/read_queue.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/thread_name.h"
#include "server/eventlog/unreadable.h"

namespace vmeventd {
namespace {

absl::Status Stopping() { return absl::UnavailableError("vmeventd is shutting down"); }

}  // namespace

void JournalReadQueue::PostForStream(const std::string& peer, Task task) {
  {
    const MutexLock lock(&mutex_);
    if (!stopped_) {
      streams_.Push(peer, std::move(task));
      changed_.NotifyOne();
      return;
    }
  }
  task(Stopping()).IgnoreError();
}

void JournalReadQueue::PostQuery(const std::string& peer, HistoryQuery query) {
  std::optional<Waiting> refused;
  absl::Status why;
  {
    const MutexLock lock(&mutex_);
    if (stopped_) {
      refused = Waiting{peer, std::move(query)};
      why = Stopping();
    } else if (queries_.size_of(peer) >= EventLog::kMaxQueriesPerPeer) {
      refused = Waiting{peer, std::move(query)};
      why = absl::ResourceExhaustedError(
          absl::StrCat("too many queries: ", EventLog::kMaxQueriesPerPeer, " from ", peer,
                       " wait already; try again later"));
    } else {
      queries_.Push(peer, {peer, std::move(query)});
      changed_.NotifyOne();
      if (queries_.size() > EventLog::kMaxQueries) refused = queries_.PopFromLongest();
      why = absl::ResourceExhaustedError(absl::StrCat("too many queries: ", EventLog::kMaxQueries,
                                                      " wait already; try again later"));
    }
  }
  if (refused.has_value()) refused->query.turn(why).IgnoreError();
}

bool JournalReadQueue::StreamIsNext() {
  constexpr int kStreamTurns = 7;
  if (!queries_.empty() && (streams_.empty() || stream_turns_ == kStreamTurns)) {
    stream_turns_ = 0;
    return false;
  }
  if (!queries_.empty()) ++stream_turns_;
  return true;
}

bool JournalReadQueue::RunTurn() {
  Task stream;
  Waiting waiting;
  {
    const MutexLock lock(&mutex_);
    if (idle()) return false;
    if (StreamIsNext()) {
      stream = streams_.Pop();
    } else {
      waiting = queries_.Pop();
    }
  }
  const OnThread here(&history_);
  if (stream) {
    CheckCorrupt(stream(Reader()));
  } else {
    RunQuery(std::move(waiting));
  }
  return true;
}

void JournalReadQueue::Run() {
  SetThreadName("history");
  while (true) {
    RunTurn();
    const MutexLock lock(&mutex_);
    while (idle() && !stopped_) changed_.Wait(&mutex_);
    if (idle()) return;
  }
}

void JournalReadQueue::RunQuery(Waiting waiting) {
  const bool cancelled = waiting.query.cancelled();
  const absl::StatusOr<bool> done =
      waiting.query.turn(cancelled ? absl::CancelledError("the call was cancelled") : Reader());
  if (!done.ok()) return CheckCorrupt(done.status());
  if (*done) return;
  const MutexLock lock(&mutex_);
  const std::string peer = waiting.peer;
  queries_.Push(peer, std::move(waiting));
}

void JournalReadQueue::CheckCorrupt(const absl::Status& status) {
  if (IsReadError(status)) return corrupt_(journal_id_, status);
  if (!absl::IsDataLoss(status)) return;
  const std::string journal_id = std::exchange(journal_id_, "");
  reader_.reset();
  corrupt_(journal_id, status);
}

absl::StatusOr<JournalReader*> JournalReadQueue::Reader() {
  {
    const MutexLock lock(&mutex_);
    if (stopped_) return Stopping();
  }
  const std::string current = live_state_->journal_id();
  if (reader_ == nullptr || journal_id_ != current) {
    reader_.reset();
    journal_id_ = current;
    absl::StatusOr<std::unique_ptr<JournalReader>> reader = JournalReader::Open(path_);
    if (!reader.ok()) return reader.status();
    if ((*reader)->journal_id() != current) {
      return absl::UnavailableError("the journal is being replaced; try again");
    }
    reader_ = *std::move(reader);
  }
  return reader_.get();
}

}  // namespace vmeventd
