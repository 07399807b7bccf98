#pragma once

#include <functional>
#include <string>

#include "gtest/gtest.h"
#include "vmeventd/internal/run_state.pb.h"

namespace vmeventd {

// Parses a saved run.
inline internal::RunState ParseSaved(const std::string& saved) {
  internal::RunState state;
  EXPECT_TRUE(state.ParseFromString(saved));
  return state;
}

// Returns a saved run with a change applied.
inline std::string Changed(const std::string& saved,
                           const std::function<void(internal::RunState*)>& change) {
  internal::RunState state = ParseSaved(saved);
  change(&state);
  return state.SerializeAsString();
}

}  // namespace vmeventd
