#pragma once

#include <functional>
#include <string>

#include "gtest/gtest.h"
#include "vmeventd/internal/run_state.pb.h"

namespace vmeventd {

// A saved run as a message.
inline internal::RunState ParseSaved(const std::string& saved) {
  internal::RunState state;
  EXPECT_TRUE(state.ParseFromString(saved));
  return state;
}

// A saved run with a change.
inline std::string Changed(const std::string& saved,
                           const std::function<void(internal::RunState*)>& change) {
  internal::RunState state = ParseSaved(saved);
  change(&state);
  return state.SerializeAsString();
}

}  // namespace vmeventd
