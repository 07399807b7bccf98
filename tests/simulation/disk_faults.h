#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "tests/simulation/kernel.h"
#include "tests/simulation/random.h"
#include "tests/simulation/story.h"

namespace vmeventd::simulation {

// A disk that fails for some time: all or some calls on the files of the state directory fail with
// ENOSPC or EIO.
class DiskFaults {
 public:
  DiskFaults(Kernel* kernel, Random* random, Story* story);

  void Begin();
  void End();
  bool active() const { return error_ != 0; }

 private:
  int Ask(absl::string_view call, const std::string& path);

  Random* const random_;
  Story* const story_;
  int error_ = 0;
  bool database_only_ = false;
  bool syncs_only_ = false;
  bool reads_too_ = false;
  bool mark_too_ = false;
  uint64_t one_in_ = 1;
};

}  // namespace vmeventd::simulation
