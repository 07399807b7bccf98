#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "server/eventlog/event_log.h"

namespace vmeventd {

// Events to publish: the journal, from a sequence on. Only what the journal holds counts, so that
// nothing is published that a kill could undo.
class Outbox {
 public:
  virtual ~Outbox() = default;

  // The journal's id, and the sequence from which on nothing is missing but what a GAP names.
  struct Range {
    std::string journal_id;
    uint64_t unbroken_from = 1;
  };
  virtual Range range() const = 0;

  // The newest event and the VMs that run.
  struct Newest {
    uint64_t sequence = 0;
    std::optional<absl::Time> time;  // that event's; nullopt: not known
    uint64_t running_vms = 0;
  };
  virtual Newest newest() const = 0;

  // Every VM that is known, and a number that changes with any of them.
  virtual std::vector<VmRecordPtr> vms() const = 0;
  virtual uint64_t vms_version() const = 0;

  // Ends a Read that is under way, and every later one, with CANCELLED. Any thread.
  virtual void Interrupt() = 0;

  // The events from `first` on, about `max_bytes` of them; none: there are no more yet.
  // UNAVAILABLE: another journal than `journal_id` is in use. OUT_OF_RANGE: retention has deleted
  // some of them.
  virtual absl::StatusOr<std::vector<EventBlockPtr>> Read(const std::string& journal_id,
                                                          uint64_t first, size_t max_bytes) = 0;
};

// The daemon's own journal, read on the history thread, for which the caller waits: it answers
// every question, and those that come after its stop at once, but not while the disk does not
// answer. The log outlives the outbox.
class JournalOutbox : public Outbox {
 public:
  explicit JournalOutbox(EventLog* log) : log_(log) {}

  Range range() const override;
  Newest newest() const override;
  std::vector<VmRecordPtr> vms() const override;
  uint64_t vms_version() const override { return log_->vms_version(); }
  void Interrupt() override;
  absl::StatusOr<std::vector<EventBlockPtr>> Read(const std::string& journal_id, uint64_t first,
                                                  size_t max_bytes) override;

 private:
  // Answer of the history thread; it may come after an Interrupt.
  struct Shared {
    Mutex mutex;
    CondVar changed;
    uint64_t ticket ABSL_GUARDED_BY(mutex) = 0;  // number of the Read that waits
    std::optional<absl::StatusOr<HistoryAnswer>> answer ABSL_GUARDED_BY(mutex);
    bool interrupted ABSL_GUARDED_BY(mutex) = false;
  };

  EventLog* const log_;
  const std::shared_ptr<Shared> shared_ = std::make_shared<Shared>();
};

}  // namespace vmeventd
