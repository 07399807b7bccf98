#include "server/eventlog/history.h"

#include "absl/strings/str_cat.h"
#include "base/error_reason.h"
#include "server/eventlog/hung_disk.h"
#include "watcher/core/shutting_down.h"

namespace vmeventd {

void History::Post(const std::string& peer, const HistoryQuery& query) {
  const bool added = turns_.Add(peer, [this, peer, query] {
    SetReading(clock_->Now().monotonic);
    const absl::StatusOr<bool> done = query(Reader());
    SetReading(absl::InfiniteDuration());
    if (!done.ok()) return owner_.on_error(done.status());
    if (!*done) Post(peer, query);
  });
  if (!added) query(ShuttingDown()).IgnoreError();
}

absl::StatusOr<JournalReader*> History::Reader() {
  if (absl::Status status = owner_.check_open(); !status.ok()) return status;
  if (reader_ == nullptr) {
    absl::StatusOr<std::unique_ptr<JournalReader>> opened = JournalReader::Open(path_);
    if (!opened.ok()) {
      owner_.on_error(opened.status());
      return opened.status();
    }
    reader_ = *std::move(opened);
  }
  return reader_.get();
}

absl::Status History::CheckReads() const {
  const MutexLock lock(&mutex_);
  const absl::Duration reads = clock_->Now().monotonic - reading_since_;
  if (reads < kMaxRead) return absl::OkStatus();
  return WithReason(
      "JOURNAL_UNAVAILABLE",
      absl::UnavailableError(absl::StrCat("the journal cannot be read now: ", HungDiskText(reads),
                                          "; VMs can still be listed")));
}

}  // namespace vmeventd
