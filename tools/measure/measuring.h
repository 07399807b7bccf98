#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/time/time.h"
#include "base/unique_fd.h"
#include "nlohmann/json.hpp"

namespace vmeventd::bench {

// The measured values, by name. Prints each value when it is added.
class Record {
 public:
  Record();
  Record(const Record&) = delete;
  Record& operator=(const Record&) = delete;

  void Add(const std::string& name, double value, const std::string& unit);
  // Adds the processor time for each of `count`; `cpu` is the time for all together.
  void AddEach(const std::string& name, absl::Duration cpu, int count);
  // Adds the times of single operations: their p50 and p99, and for the plots each percentile.
  void AddTimes(const std::string& name, std::vector<absl::Duration> times);
  void Write(const std::string& path) const;

 private:
  nlohmann::ordered_json json_;
};

// The processor time of a process.
absl::Duration CpuOf(pid_t pid);
// The number of wakeups of all its threads together.
double Wakeups(pid_t pid);
double AnonymousKib(pid_t pid);
double ResidentKib(pid_t pid);
// The number of calls with which a process has read and written files.
double FileCalls(pid_t pid);
// Returns when the process does almost nothing any more.
void Settle(pid_t pid);

// Counts the shutdown files that appear in a directory.
class FileCounter {
 public:
  explicit FileCounter(const std::string& directory);

  // Returns when `count` files have appeared since the counter was made; fails after
  // e2e::Patience().
  absl::Time Wait(int count);

 private:
  const UniqueFd fd_;
  int seen_ = 0;
};

}  // namespace vmeventd::bench
