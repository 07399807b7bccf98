#include "tools/measure/process_costs.h"

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/support/fail.h"
#include "tests/support/files.h"

namespace vmeventd::bench {
namespace {

// The sum of a field of the status files of a process's threads.
double StatusField(pid_t pid, const std::string& field, bool all_threads) {
  double sum = 0;
  const std::string directory = absl::StrCat("/proc/", pid, "/task");
  for (const auto& task : std::filesystem::directory_iterator(directory)) {
    const std::string text = e2e::ReadFile(task.path().string() + "/status");
    const size_t at = text.find("\n" + field + ":");
    if (at != std::string::npos) sum += std::atof(text.c_str() + at + field.size() + 2);
    if (!all_threads) break;
  }
  return sum;
}

}  // namespace

absl::Duration CpuOf(pid_t pid) {
  clockid_t clock;
  timespec time{};
  if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &time) != 0) {
    e2e::Fail("the process is gone");
  }
  return absl::DurationFromTimespec(time);
}

double AnonymousKib(pid_t pid) { return StatusField(pid, "RssAnon", false); }
double ResidentKib(pid_t pid) { return StatusField(pid, "VmRSS", false); }
double Wakeups(pid_t pid) { return StatusField(pid, "voluntary_ctxt_switches", true); }

double FileCalls(pid_t pid) {
  const std::string text = e2e::ReadFile(absl::StrCat("/proc/", pid, "/io"));
  const auto number = [&](const char* name) {
    return std::atof(text.c_str() + text.find(name) + std::strlen(name));
  };
  return number("syscr:") + number("syscw:");
}

void Settle(pid_t pid) {
  for (absl::Duration before = CpuOf(pid);;) {
    absl::SleepFor(absl::Milliseconds(300));
    const absl::Duration now = CpuOf(pid);
    if (now - before < absl::Milliseconds(2)) return;
    before = now;
  }
}

}  // namespace vmeventd::bench
