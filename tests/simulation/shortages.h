#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "tests/simulation/kernel.h"
#include "tests/simulation/random.h"
#include "tests/simulation/story.h"

namespace vmeventd::simulation {

// Times in which the daemon gets no descriptor, or only a few: its own limit is reached (EMFILE),
// or the system's (ENFILE). It keeps what it has, and may open again what it closes.
class Shortages {
 public:
  Shortages(Kernel* kernel, Random* random, Story* story);

  // Leaves room for few beyond those that are open. `at_start`: as for a daemon that begins, which
  // may have too few to do so.
  void Begin(bool at_start);
  void End();
  bool active() const { return error_ != 0; }
  int begun() const { return begun_; }

 private:
  int Ask(absl::string_view call, const std::string& path);

  Kernel* const kernel_;
  Random* const random_;
  Story* const story_;
  int begun_ = 0;  // number of shortages so far
  int error_ = 0;
  size_t max_ = 0;        // descriptors
  uint64_t refused_ = 0;  // number of refusals since it began
};

}  // namespace vmeventd::simulation
