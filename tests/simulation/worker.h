#pragma once

#include <cstdio>

#include "tests/simulation/plan.h"
#include "tests/simulation/simulation.h"

namespace vmeventd::simulation {

// A process that simulates plans, each in a separate child process. The order of hash tables
// depends on the heap's addresses, so each child must begin with the same heap, no matter what was
// simulated before and what the parent has done. Therefore the worker allocates nothing between two
// plans, and must be started before its parent allocates anything.
class Worker {
 public:
  // Starts a worker. If that fails, ends this process with a message.
  static Worker Start();

  // Simulates one plan at a time: each Begin() must be followed by a Wait(). The result contains
  // the story only if `story`.
  void Begin(const Plan& plan, bool story);
  Result Wait();

 private:
  Worker(int plans, int results) : plans_(plans), results_(results) {}

  int plans_;
  int results_;
  FILE* reader_ = nullptr;  // reads results_
};

}  // namespace vmeventd::simulation
