#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/support/event_log_for_tests.h"
#include "tests/support/pumped_state.h"
#include "tests/support/vm_updates.h"

namespace vmeventd {

// Fills the backlog of a log whose disk hangs beyond its bound; returns the newest sequence.
inline uint64_t Overflow(PumpedState* state) {
  VmUpdate large = Reset();
  large.event->set_detail_json(std::string(100'000, 'x'));
  for (int i = 0; i < 40; ++i) state->PushUnwritten(std::vector<VmUpdate>(10, large));
  state->clock().Advance(absl::Seconds(3));
  do {
    state->PushUnwritten({});
  } while (EventLogForTests::NextStep(state->log()) <= state->clock().Now().monotonic);
  return 400;
}

}  // namespace vmeventd
