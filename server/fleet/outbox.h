#ifndef VMEVENTD_SERVER_FLEET_OUTBOX_H_
#define VMEVENTD_SERVER_FLEET_OUTBOX_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/events/live_state.h"
#include "server/journal/read_queue.h"

namespace vmeventd {

// What is to be published: the journal, from a sequence on. Only what the journal holds counts, so
// that nothing is published that a kill could undo.
class Outbox {
 public:
  virtual ~Outbox() = default;

  // Which journal it is, and from where on nothing is missing but what a GAP names.
  struct Range {
    std::string journal_id;
    uint64_t unbroken_from = 1;
  };
  virtual Range range() const = 0;

  // The events from `first` on, about `max_bytes` of them; none: there are no more yet. Of another
  // journal than `journal_id`: UNAVAILABLE. OUT_OF_RANGE: retention has deleted some of them.
  virtual absl::StatusOr<std::vector<EventBlockPtr>> Read(const std::string& journal_id,
                                                          uint64_t first, size_t max_bytes) = 0;
};

// The daemon's own journal, read on the history thread, for which the caller waits. Both outlive
// the outbox; the history thread runs, or was stopped.
class JournalOutbox : public Outbox {
 public:
  JournalOutbox(const LiveState* live_state, JournalReadQueue* read_queue)
      : live_state_(live_state), read_queue_(read_queue) {}

  Range range() const override;
  absl::StatusOr<std::vector<EventBlockPtr>> Read(const std::string& journal_id, uint64_t first,
                                                  size_t max_bytes) override;

 private:
  const LiveState* const live_state_;
  JournalReadQueue* const read_queue_;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_FLEET_OUTBOX_H_
