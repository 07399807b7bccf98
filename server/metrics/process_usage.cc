#include "server/metrics/process_usage.h"

#include <dirent.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/small_file.h"
#include "watcher/runs/process.h"

namespace vmeventd {
namespace {

uint64_t CountDescriptors() {
  // Linux 6.2 and later report the number as the directory's size.
  struct stat status {};
  if (stat("/proc/self/fd", &status) == 0 && status.st_size > 0) {
    return static_cast<uint64_t>(status.st_size);
  }
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir("/proc/self/fd"), closedir);
  if (directory == nullptr) return 0;
  uint64_t count = 0;
  while (const dirent* entry = readdir(directory.get())) {
    if (entry->d_name[0] != '.') ++count;
  }
  return count - 1;  // the directory's own
}

}  // namespace

absl::Time ReadProcessStartTime() {
  const absl::StatusOr<std::string> stat = ReadSmallFile("/proc/self/stat");
  if (!stat.ok()) return absl::UnixEpoch();
  const std::optional<uint64_t> ticks = ParseStatStartTicks(*stat);
  return ticks.has_value() ? ProcessStartTime(*ticks) : absl::UnixEpoch();
}

ProcessUsage ReadProcessUsage() {
  ProcessUsage out;
  std::ifstream statm("/proc/self/statm");
  uint64_t size = 0;
  uint64_t resident = 0;
  if (statm >> size >> resident) {
    const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    out.virtual_bytes = size * page;
    out.resident_bytes = resident * page;
  }
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) == 0) {
    out.cpu_time =
        absl::DurationFromTimeval(usage.ru_utime) + absl::DurationFromTimeval(usage.ru_stime);
  }
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) out.max_descriptors = limit.rlim_cur;
  out.open_descriptors = CountDescriptors();
  return out;
}

}  // namespace vmeventd
