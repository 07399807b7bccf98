#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"
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

}  // namespace vmeventd::bench
