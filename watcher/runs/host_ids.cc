#include "watcher/runs/host_ids.h"

#include <sys/stat.h>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "base/small_file.h"

namespace vmeventd {

std::string ReadBootId() {
  const absl::StatusOr<std::string> text = ReadSmallFile("/proc/sys/kernel/random/boot_id");
  return text.ok() ? std::string(absl::StripAsciiWhitespace(*text)) : "";
}

uint64_t ReadPidNamespace() {
  struct stat status;
  return stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

}  // namespace vmeventd
