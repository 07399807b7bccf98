#include "server/eventlog/journal_batch.h"

namespace vmeventd {

void JournalBatch::Put(const std::string& run_id, SavedRun run) {
  const auto [put, is_new] = runs.try_emplace(run_id);
  if (is_new) bytes += 200 + 2 * run_id.size();
  bytes += run.payload.size() - put->second.payload.size();
  put->second = std::move(run);
}

void JournalBatch::Add(const JournalBatch& next) {
  for (const EventPtr& event : next.events) Put(event);
  for (const auto& [run_id, run] : next.runs) Put(run_id, run);
  stops.insert(next.stops.begin(), next.stops.end());
}

}  // namespace vmeventd
