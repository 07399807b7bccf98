#include "base/standstill.h"

#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/small_file.h"

namespace vmeventd {
namespace {

constexpr char kMountPoint[] = "/sys/fs/cgroup";

std::string Read(const std::string& directory, absl::string_view file) {
  return ReadSmallFile(absl::StrCat(directory, "/", file)).value_or("");
}

// The cgroup, or the nearest one above it, that somebody has frozen. `root` has no such file.
std::string NearestFrozen(const std::string& root, absl::string_view path, absl::string_view file) {
  while (path.size() > 1) {
    std::string directory = absl::StrCat(root, path);
    if (absl::StartsWith(Read(directory, file), "1")) return directory;
    path = path.substr(0, path.rfind('/'));
  }
  return "";
}

}  // namespace

std::string FrozenCgroup(const std::string& cgroups, const std::string& mount_point) {
  // cgroups(7): "ID:CONTROLLERS:PATH"; version 2 has no controllers.
  for (const absl::string_view line : absl::StrSplit(cgroups, '\n')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() < 3 || absl::StrContains(parts[2], "/..")) continue;
    const absl::string_view path = parts[2];
    if (absl::StrContains(absl::StrCat(",", parts[1], ","), ",freezer,")) {
      const std::string root = mount_point + "/freezer";
      if (absl::StartsWith(Read(absl::StrCat(root, path), "freezer.state"), "FROZEN")) {
        return NearestFrozen(root, path, "freezer.self_freezing");
      }
    }
    if (!parts[1].empty()) continue;
    for (const std::string& root : {mount_point, mount_point + "/unified"}) {
      if (absl::StrContains(Read(absl::StrCat(root, path), "cgroup.events"), "frozen 1")) {
        return NearestFrozen(root, path, "cgroup.freeze");
      }
    }
  }
  return "";
}

std::string FrozenCgroup(int64_t pid) {
  return FrozenCgroup(ReadSmallFile(absl::StrCat("/proc/", pid, "/cgroup")).value_or(""),
                      kMountPoint);
}

bool DumpsCore(int64_t pid) {
  const std::string status = ReadSmallFile(absl::StrCat("/proc/", pid, "/status")).value_or("");
  return absl::StrContains(status, "CoreDumping:\t1");
}

}  // namespace vmeventd
