#ifndef VMEVENTD_TESTS_SIMULATION_SIMULATION_H_
#define VMEVENTD_TESTS_SIMULATION_SIMULATION_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace vmeventd::simulation {

struct Outcome {
  std::string problem;  // empty: all is as it must be
  std::vector<std::string> story;
  std::map<std::string, uint64_t> reached;
  uint64_t lives = 0;
};

// One node from the start of its first VM to the end of its last, as `seed` will have it. The same
// seed is the same story, in a process that has done nothing else.
Outcome Simulate(uint64_t seed);

}  // namespace vmeventd::simulation

#endif  // VMEVENTD_TESTS_SIMULATION_SIMULATION_H_
