#pragma once

#include <cstdio>

#include "tests/simulation/simulation.h"

namespace vmeventd::simulation {

// A process that simulates, each plan in a child of its own. It allocates nothing between two
// plans: each child begins with the same heap at the same addresses, on which the order of hash
// tables depends, whatever was simulated before and whatever its parent has done since. So it is
// made before its parent allocates anything.
class Worker {
 public:
  // Ends the process with a message if there is none to be had.
  static Worker Start();

  // Simulates one plan at a time: each Begin is followed by a Wait. The result has its story only
  // if `story`.
  void Begin(const Plan& plan, bool story);
  Result Wait();

 private:
  Worker(int plans, int results) : plans_(plans), results_(results) {}

  int plans_;
  int results_;
  FILE* reader_ = nullptr;  // reads results_
};

}  // namespace vmeventd::simulation
