#include "watcher/runs/oom_counters.h"

#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/small_file.h"
#include "watcher/core/proc_texts.h"

namespace vmeventd {

// The nearest cgroup above counts if a cgroup has no memory controller: it is threaded, or its
// parent does not delegate the controller.
std::optional<OomCounters::Count> OomCounters::Find(int64_t pid) const {
  const std::string text =
      ReadSmallFile(absl::StrCat(root_, "/proc/", pid, "/cgroup")).value_or("");
  // cgroups(7): "ID:CONTROLLERS:PATH", with "0::PATH" for v2.
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    // ".." is outside of this process's own cgroup namespace.
    if (parts.size() < 3 || absl::StrContains(parts[2], "/..")) continue;
    const bool v1 = parts[1] == "memory";
    if (!v1 && !parts[1].empty()) continue;
    const std::string mount = v1 ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup";
    for (std::string directory = absl::StrCat(mount, absl::StripSuffix(parts[2], "/"));
         directory.size() >= mount.size(); directory.resize(directory.rfind('/'))) {
      std::string file = directory + (v1 ? "/memory.oom_control" : "/memory.events");
      if (const std::optional<uint64_t> kills = Read(file)) return Count{std::move(file), *kills};
    }
  }
  return std::nullopt;
}

std::optional<uint64_t> OomCounters::Read(const std::string& file) const {
  const std::string text = ReadSmallFile(root_ + file).value_or("");
  uint64_t kills = 0;
  return absl::SimpleAtoi(ValueInLine(text, "oom_kill "), &kills) ? std::optional(kills)
                                                                  : std::nullopt;
}

}  // namespace vmeventd
