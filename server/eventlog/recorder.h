#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "server/eventlog/event_meters.h"
#include "server/eventlog/journal_batch.h"
#include "server/eventlog/node_gap.h"
#include "server/eventlog/unpublished_turn.h"
#include "server/events/logged_event.h"
#include "watcher/core/vm_update.h"

namespace vmeventd {

// Gives events their sequences, and collects the changes of one turn: what the journal is to write,
// and what is to be published. Pure; its owner locks. Counts events in the meters.
class Recorder {
 public:
  // Sequences begin after `assigned`. `meters` outlives it.
  Recorder(uint64_t assigned, EventMeters* meters) : last_assigned_(assigned), meters_(meters) {}

  // Returns the newest public event of a run; 0: none.
  using FindLast = absl::FunctionRef<uint64_t(const v1::VmRef&)>;
  // Adds a step of the watcher. `find_last` is called for a run of which nothing waits to be
  // public.
  void AddUpdate(VmUpdate update, FindLast find_last);
  // Adds a GAP of the node as a whole, observed at `now`.
  void AddGap(const NodeGap& gap, absl::Time now);
  // Adds an event that the previous daemon handed over, with its sequence.
  void AddHanded(EventPtr event) { batch_.Put(std::move(event)); }
  // Adds the stopped VMs that the previous daemon handed over, by last_sequence.
  void AddHandedStops(std::map<uint64_t, std::shared_ptr<const v1::Vm>> stops);

  // Returns whether nothing was added since the last turn ended.
  bool empty() const {
    return batch_.empty() && unpublished_.vms.empty() && unpublished_.on_public.empty();
  }
  struct Turn {
    UnpublishedTurn unpublished;
    JournalBatch batch;
  };
  // Ends the turn, and returns what was added to it.
  Turn TakeTurn(absl::Duration now);

  // Call it once `newest` is public: runs of which nothing waits any more are forgotten.
  void Published(uint64_t newest) {
    if (newest == last_assigned_) last_sequences_.clear();
  }
  uint64_t last_assigned() const { return last_assigned_; }  // a sequence
  uint64_t turns() const { return turns_; }                  // number of those that have ended

 private:
  void AddEvent(v1::Event event, const v1::Vm* vm);

  uint64_t last_assigned_;
  EventMeters* const meters_;
  uint64_t turns_ = 0;
  UnpublishedTurn unpublished_;
  JournalBatch batch_;
  // The newest event of each run that waits to be public.
  absl::flat_hash_map<std::string, uint64_t> last_sequences_;
};

}  // namespace vmeventd
