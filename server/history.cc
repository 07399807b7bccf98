#include "server/history.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace vmeventd {

void History::PostForStream(Task task) { Post({std::move(task), false}); }

absl::Status History::PostQuery(Task task) {
  {
    const MutexLock lock(&mutex_);
    if (queries_ >= kMaxQueries) {
      return absl::ResourceExhaustedError(
          absl::StrCat("too many queries: ", kMaxQueries, " wait already; try again later"));
    }
    ++queries_;
  }
  Post({std::move(task), true});
  return absl::OkStatus();
}

void History::Post(Entry entry) {
  {
    const MutexLock lock(&mutex_);
    if (!stopped_) {
      tasks_.push_back(std::move(entry));
      changed_.NotifyOne();
      return;
    }
    if (entry.query) --queries_;
  }
  entry.task(absl::UnavailableError("vmeventd is shutting down")).IgnoreError();
}

void History::Run() {
  while (true) {
    Entry entry;
    bool stopped = false;
    {
      const MutexLock lock(&mutex_);
      while (tasks_.empty() && !stopped_) changed_.Wait(&mutex_);
      if (tasks_.empty()) return;
      stopped = stopped_;
      entry = std::move(tasks_.front());
      tasks_.pop_front();
      if (entry.query) --queries_;
    }
    if (stopped) {
      entry.task(absl::UnavailableError("vmeventd is shutting down")).IgnoreError();
    } else {
      Do(entry.task);
    }
  }
}

void History::Do(const Task& task) {
  const absl::StatusOr<JournalReader*> reader = Reader();
  const absl::Status status = task(reader);
  if (!absl::IsDataLoss(status)) return;
  const std::string journal_id = std::exchange(journal_id_, "");
  reader_.reset();
  corrupt_(journal_id, status);
}

absl::StatusOr<JournalReader*> History::Reader() {
  const std::string current = store_->journal_id();
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

void History::Stop() {
  const MutexLock lock(&mutex_);
  stopped_ = true;
  changed_.NotifyAll();
}

}  // namespace vmeventd
