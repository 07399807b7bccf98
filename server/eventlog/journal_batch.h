#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/eventlog/hole.h"
#include "server/eventlog/saved_runs.h"
#include "server/events/logged_event.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// The changes of one transaction of the journal.
struct JournalBatch {
  std::vector<EventPtr> events;  // in order, all beyond newest
  SavedRuns runs;
  std::map<uint64_t, std::shared_ptr<const v1::Vm>> stops;  // by last_sequence
  Hole hole{};
  bool hole_is_named = false;  // a GAP of these events names it; else the next start must

  size_t bytes = 0;  // approximate memory of the events and the runs

  bool empty() const { return events.empty() && runs.empty() && stops.empty(); }
  void Put(EventPtr event) {
    bytes += event->memory();
    events.push_back(std::move(event));
  }
  void Put(const std::string& run_id, SavedRun run);
  // Appends the changes that follow it.
  void Add(const JournalBatch& next);
};

}  // namespace vmeventd
