#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>

#include "absl/strings/string_view.h"
#include "tests/simulation/kernel.h"
#include "tests/simulation/random.h"
#include "tests/simulation/story.h"

namespace vmeventd::simulation {

// Periods in which the daemon gets no new descriptors, or only a few: its own limit (EMFILE) or the
// system's limit (ENFILE) is reached. It keeps its descriptors, and can open new ones after it
// closes others.
class Shortages {
 public:
  Shortages(Kernel* kernel, Random* random, Story* story);

  // Leaves room for a few more descriptors than are open. `at_start`: for a daemon that starts;
  // there may be too few for the start.
  void Begin(bool at_start);
  void End();
  bool active() const { return error_ != 0; }
  int begun() const { return begun_; }
  // Paths whose opening has failed since the shortage began.
  const std::set<std::string>& unopened() const { return unopened_; }

 private:
  int Ask(absl::string_view call, const std::string& path);

  Kernel* const kernel_;
  Random* const random_;
  Story* const story_;
  int begun_ = 0;  // number of shortages so far
  int error_ = 0;
  size_t max_ = 0;        // maximum number of descriptors
  uint64_t refused_ = 0;  // number of failed calls since the shortage began
  std::set<std::string> unopened_;
};

}  // namespace vmeventd::simulation
