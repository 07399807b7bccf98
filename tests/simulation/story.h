#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "tests/simulation/kernel.h"

namespace vmeventd::simulation {

// The log of one simulation, for people: one line for each occurrence, with the time since the
// start. Also counts what was reached, and records failures.
class Story {
 public:
  explicit Story(const Kernel* kernel) : kernel_(kernel), began_(kernel->monotonic()) {}

  // Each method takes its text in parts, like absl::StrCat. `who` is one or two words: "qemu vm3",
  // "daemon", "reader 2".
  template <typename... Parts>
  void Log(absl::string_view who, const Parts&... what) {
    const double time = absl::ToDoubleSeconds(kernel_->monotonic() - began_);
    lines_.push_back(absl::StrFormat("%11.4f  %-10s %s", time, who, absl::StrCat(what...)));
  }
  // Records a failure.
  template <typename... Parts>
  void Fail(const Parts&... problem) {
    Log("JUDGE", "WRONG: ", problem...);
    if (problem_.empty()) problem_ = absl::StrCat(problem...);
  }
  template <typename... Parts>
  void Reach(const Parts&... what) {
    ++reached_[absl::StrCat(what...)];
  }

  bool failed() const { return !problem_.empty(); }
  const std::string& problem() const { return problem_; }  // the first failure
  const std::vector<std::string>& lines() const { return lines_; }
  const std::map<std::string, uint64_t>& reached() const { return reached_; }

 private:
  const Kernel* const kernel_;
  const absl::Duration began_;
  std::vector<std::string> lines_;
  std::string problem_;
  std::map<std::string, uint64_t> reached_;
};

}  // namespace vmeventd::simulation
