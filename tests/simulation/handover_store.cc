#include "tests/simulation/handover_store.h"

#include "vmeventd/internal/run_state.pb.h"

namespace vmeventd::simulation {

std::set<std::string> HandoverStore::RunIds() const {
  std::set<std::string> run_ids;
  for (const Run& run : runs) {
    internal::HandedRunState state;
    if (state.ParseFromString(run.text)) run_ids.insert(state.run_id());
  }
  return run_ids;
}

}  // namespace vmeventd::simulation
