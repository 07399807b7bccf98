#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/event_log_for_tests.h"
#include "tests/support/test_events.h"

namespace vmeventd {

// The sequence of each event, and whether it is durable.
inline std::vector<std::pair<uint64_t, bool>> Durability(const std::vector<v1::Event>& events) {
  std::vector<std::pair<uint64_t, bool>> out;
  out.reserve(events.size());
  for (const v1::Event& event : events) out.emplace_back(event.sequence(), event.durable());
  return out;
}

inline VmUpdate Reset() { return Update("a", EventType::kReset); }

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

inline const v1::Event* FindGap(const std::vector<v1::Event>& events) {
  for (const v1::Event& event : events) {
    if (event.has_missing()) return &event;
  }
  return nullptr;
}

}  // namespace vmeventd
