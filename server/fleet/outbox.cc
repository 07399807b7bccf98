#include "server/fleet/outbox.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "base/wait_until.h"

namespace vmeventd {
namespace {

using Blocks = std::vector<EventBlockPtr>;

// What the history thread hands over.
struct Answer {
  Mutex mutex;
  CondVar changed;
  std::optional<absl::StatusOr<Blocks>> blocks ABSL_GUARDED_BY(mutex);
};

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

absl::StatusOr<Blocks> JournalOutbox::Read(const std::string& journal_id, uint64_t first,
                                           size_t max_bytes) {
  const uint64_t newest = live_state_->range().newest;
  if (first > newest) return Blocks();
  const auto answer = std::make_shared<Answer>();
  read_queue_->PostForStream(
      "the fleet's publisher",
      [answer, journal_id, first, newest, max_bytes](const absl::StatusOr<JournalReader*>& reader) {
        absl::StatusOr<Blocks> blocks = ReadBlocks(reader, journal_id, first, newest, max_bytes);
        absl::Status status = blocks.status();
        {
          const MutexLock lock(&answer->mutex);
          answer->blocks = std::move(blocks);
        }
        answer->changed.NotifyAll();
        return status;
      });
  const MutexLock lock(&answer->mutex);
  WaitUntil(&answer->changed, &answer->mutex, absl::InfiniteDuration(),
            [&answer]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(answer->mutex) {
              return answer->blocks.has_value();
            });
  return *std::move(answer->blocks);
}

}  // namespace vmeventd
