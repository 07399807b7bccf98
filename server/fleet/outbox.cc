#include "server/fleet/outbox.h"

#include <memory>
#include <optional>
#include <utility>

#include "base/wait_until.h"

namespace vmeventd {
namespace {

using Blocks = std::vector<EventBlockPtr>;

absl::StatusOr<Blocks> ReadBlocks(const absl::StatusOr<JournalReader*>& reader,
                                  const std::string& journal_id, uint64_t first, uint64_t last,
                                  size_t max_bytes) {
  if (!reader.ok()) return reader.status();
  if ((*reader)->journal_id() != journal_id) {
    return absl::UnavailableError("the journal was replaced");
  }
  absl::StatusOr<JournalReader::Page> page = (*reader)->ReadFrom(first, last, max_bytes);
  if (!page.ok()) return page.status();
  return std::move(page->blocks);
}

}  // namespace

Outbox::Range JournalOutbox::range() const {
  return {live_state_->journal_id(), live_state_->range().unbroken_from};
}

Outbox::Newest JournalOutbox::newest() const {
  Newest newest{live_state_->range().newest, std::nullopt,
                static_cast<uint64_t>(live_state_->vm_count())};
  const LiveState::Page page = live_state_->ReadFrom(newest.sequence, 1);
  if (!page.blocks.empty()) {
    const EventBlockPtr& block = page.blocks.back();
    newest.time = block->at(block->size() - 1).observe_time;
  }
  return newest;
}

std::vector<VmRecordPtr> JournalOutbox::vms() const {
  constexpr size_t kPage = 1'000;  // so that others get the lock in between
  std::vector<VmRecordPtr> vms;
  while (true) {
    const VmKey after = vms.empty() ? VmKey{} : vms.back()->key();
    const LiveState::VmPage page = live_state_->ListVmsAfter(vms.empty() ? nullptr : &after, kPage);
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

absl::StatusOr<Blocks> JournalOutbox::Read(const std::string& journal_id, uint64_t first,
                                           size_t max_bytes) {
  const uint64_t newest = live_state_->range().newest;
  if (first > newest) return Blocks();
  uint64_t ticket = 0;
  {
    const MutexLock lock(&shared_->mutex);
    ticket = ++shared_->ticket;
    shared_->answer.reset();
  }
  read_queue_->PostForStream(
      "the fleet's publisher", [shared = shared_, ticket, journal_id, first, newest,
                                max_bytes](const absl::StatusOr<JournalReader*>& reader) {
        absl::StatusOr<Blocks> blocks = ReadBlocks(reader, journal_id, first, newest, max_bytes);
        absl::Status status = blocks.status();
        {
          const MutexLock lock(&shared->mutex);
          if (ticket == shared->ticket) shared->answer = std::move(blocks);
        }
        shared->changed.NotifyAll();
        return status;
      });
  const MutexLock lock(&shared_->mutex);
  WaitUntil(&shared_->changed, &shared_->mutex, absl::InfiniteDuration(),
            [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(shared_->mutex) {
              return shared_->answer.has_value() || shared_->interrupted;
            });
  if (!shared_->answer.has_value()) return absl::CancelledError("vmeventd is stopping");
  return *std::move(shared_->answer);
}

}  // namespace vmeventd
