#include "tools/measure/record.h"

#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <fstream>

namespace vmeventd::bench {

Record::Record() : json_(nlohmann::ordered_json::object()) {}

void Record::Add(const std::string& name, double value, const std::string& unit) {
  std::printf("%-70s %10.4g %s\n", name.c_str(), value, unit.c_str());
  std::fflush(stdout);
  json_[name] = {{"value", value}, {"unit", unit}};
}

void Record::AddEach(const std::string& name, absl::Duration cpu, int count) {
  Add(name, absl::ToDoubleMicroseconds(cpu) / count, "us");
}

void Record::AddTimes(const std::string& name, std::vector<absl::Duration> times) {
  std::sort(times.begin(), times.end());
  const auto at = [&](size_t percent) {
    return absl::ToDoubleMicroseconds(times[(times.size() - 1) * percent / 100]);
  };
  Add(name + ", p50", at(50), "us");
  Add(name + ", p99", at(99), "us");
  for (size_t percent = 0; percent <= 100; ++percent) {
    json_[name + ", p50"]["percentiles"].push_back(at(percent));
  }
}

void Record::Write(const std::string& path) const { std::ofstream(path) << json_.dump(1) << "\n"; }

}  // namespace vmeventd::bench
