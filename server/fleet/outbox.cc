#include "server/fleet/outbox.h"

#include <memory>
#include <optional>
#include <utility>

namespace vmeventd {
Outbox::Range JournalOutbox::range() const {
  return {log_->identity()->journal_id, log_->range().unbroken_from};
}

Outbox::Newest JournalOutbox::newest() const {
  Newest newest{log_->range().newest, std::nullopt, static_cast<uint64_t>(log_->vm_count())};
  const ReadResult read = log_->Read(newest.sequence, {.max_bytes = 1});
  if (!read.blocks.empty()) {
    const EventBlockPtr& block = read.blocks.back();
    newest.time = block->at(block->size() - 1).observe_time;
  }
  return newest;
}

std::vector<VmRecordPtr> JournalOutbox::vms() const {
  constexpr size_t kPage = 1'000;  // lets others get the lock in between
  std::vector<VmRecordPtr> vms;
  while (true) {
    const VmKey after = vms.empty() ? VmKey{} : vms.back()->key();
    const EventLog::VmPage page = log_->Vms(vms.empty() ? nullptr : &after, kPage);
    vms.insert(vms.end(), page.vms.begin(), page.vms.end());
    if (page.vms.size() < kPage) return vms;
  }
}

void JournalOutbox::Interrupt() {
  {
    const MutexLock lock(&shared_->mutex);
    shared_->interrupted = true;
  }
  shared_->changed.NotifyAll();
}

absl::StatusOr<std::vector<EventBlockPtr>> JournalOutbox::Read(const std::string& journal_id,
                                                               uint64_t first, size_t max_bytes) {
  std::optional<HistoryRequest> request = log_->Read(first, {.journal_only = true}).history;
  if (!request.has_value()) return std::vector<EventBlockPtr>();
  request->journal_id = journal_id;
  uint64_t ticket = 0;
  {
    const MutexLock lock(&shared_->mutex);
    ticket = ++shared_->ticket;
    shared_->answer.reset();
  }
  log_->ReadHistory(
      "the fleet's publisher", *std::move(request), [max_bytes] { return max_bytes; },
      [shared = shared_, ticket](absl::StatusOr<HistoryAnswer> answer) {
        {
          const MutexLock lock(&shared->mutex);
          if (ticket == shared->ticket) shared->answer = std::move(answer);
        }
        shared->changed.NotifyAll();
      });
  const MutexLock lock(&shared_->mutex);
  WaitUntil(&shared_->changed, &shared_->mutex, absl::InfiniteDuration(),
            [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(shared_->mutex) {
              return shared_->answer.has_value() || shared_->interrupted;
            });
  if (!shared_->answer.has_value()) return absl::CancelledError("vmeventd is stopping");
  if (!shared_->answer->ok()) return shared_->answer->status();
  return std::move((*shared_->answer)->blocks);
}

}  // namespace vmeventd
