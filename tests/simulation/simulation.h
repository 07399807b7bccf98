#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/simulation/plan.h"

namespace vmeventd::simulation {

// The outcome of a plan.
struct Result {
  std::string problem;  // empty: no failure
  std::vector<std::string> story;
  std::map<std::string, uint64_t> reached;
  uint64_t lives = 0;
  uint64_t digest = 0;  // digest of the story; set by Worker
};

// Simulates one node from the start of its first VM to the end of its last. In a process that has
// done nothing else, the same plan gives the same story.
Result Simulate(const Plan& plan);

}  // namespace vmeventd::simulation
