#include "tools/measure/measuring.h"

#include <poll.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "tests/support/files.h"
#include "tests/support/wait.h"

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

FileCounter::FileCounter(const std::string& directory) : fd_(inotify_init1(IN_CLOEXEC)) {
  inotify_add_watch(fd_.get(), directory.c_str(), IN_CREATE);
}

absl::Time FileCounter::Wait(int count) {
  char bytes[65536];
  while (seen_ < count) {
    pollfd readable{fd_.get(), POLLIN, 0};
    if (poll(&readable, 1, static_cast<int>(absl::ToInt64Milliseconds(e2e::Patience()))) <= 0) {
      e2e::Fail(absl::StrCat("only ", seen_, " of ", count, " shutdown files were made"));
    }
    const ssize_t size = read(fd_.get(), bytes, sizeof(bytes));
    for (ssize_t at = 0; at < size;) {
      const auto* const event = reinterpret_cast<const inotify_event*>(bytes + at);
      if (absl::EndsWith(event->name, ".shutdown")) ++seen_;
      at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
    }
  }
  return absl::Now();
}

}  // namespace vmeventd::bench
