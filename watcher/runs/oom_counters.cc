#include "watcher/runs/oom_counters.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/small_file.h"

namespace vmeventd {
namespace {

constexpr size_t kMaxMountsBytes = 4 << 20;

// A path as mountinfo has it: spaces and the like as \040.
std::string Unescaped(absl::string_view path) {
  std::string plain;
  return absl::CUnescape(path, &plain) ? plain : std::string(path);
}

bool Lists(absl::string_view comma_separated, absl::string_view word) {
  const std::vector<absl::string_view> words = absl::StrSplit(comma_separated, ',');
  return std::find(words.begin(), words.end(), word) != words.end();
}

}  // namespace

OomCounters::OomCounters(std::string root) : root_(std::move(root)) {
  const absl::StatusOr<std::string> mounts =
      ReadSmallFile(root_ + "/proc/self/mountinfo", kMaxMountsBytes);
  if (!mounts.ok()) return;
  // proc_pid_mountinfo(5): "ID PARENT DEVICE ROOT DIRECTORY OPTIONS ... - TYPE SOURCE OPTIONS".
  for (const absl::string_view line : absl::StrSplit(*mounts, '\n')) {
    const std::pair<absl::string_view, absl::string_view> halves = absl::StrSplit(line, " - ");
    const std::vector<absl::string_view> where = absl::StrSplit(halves.first, ' ');
    const std::vector<absl::string_view> what = absl::StrSplit(halves.second, ' ');
    if (where.size() < 5 || what.size() < 3) continue;
    const Mount mount{Unescaped(where[3]), Unescaped(where[4])};
    if (what[0] == "cgroup2" && !v2_.has_value()) v2_ = mount;
    if (what[0] == "cgroup" && Lists(what[2], "memory") && !v1_memory_.has_value()) {
      v1_memory_ = mount;
    }
  }
}

std::optional<OomCounters::Count> OomCounters::Find(int64_t pid) const {
  const absl::StatusOr<std::string> cgroups =
      ReadSmallFile(absl::StrCat(root_, "/proc/", pid, "/cgroup"));
  if (!cgroups.ok()) return std::nullopt;
  std::optional<std::string> v1;
  std::optional<std::string> v2;
  // cgroups(7): "ID:CONTROLLERS:PATH", with "0::PATH" for v2.
  for (const absl::string_view line : absl::StrSplit(*cgroups, '\n')) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (parts.size() < 3) continue;
    if (Lists(parts[1], "memory")) v1 = DirectoryOf(v1_memory_, parts[2]);
    if (parts[0] == "0" && parts[1].empty()) v2 = DirectoryOf(v2_, parts[2]);
  }
  if (v1.has_value()) {
    std::string file = *v1 + "/memory.oom_control";
    if (const auto kills = Read(file); kills.ok()) return Count{std::move(file), *kills};
  }
  if (!v2.has_value()) return std::nullopt;
  // A cgroup without a memory controller of its own (a threaded one, or one below a parent that
  // does not hand it on) is counted in the next one above that has it.
  for (std::string directory = *v2; directory.size() >= v2_->directory.size();
       directory.resize(directory.rfind('/'))) {
    std::string file = directory + "/memory.events";
    if (const auto kills = Read(file); kills.ok()) return Count{std::move(file), *kills};
  }
  return std::nullopt;
}

absl::StatusOr<uint64_t> OomCounters::Read(const std::string& file) const {
  const absl::StatusOr<std::string> text = ReadSmallFile(root_ + file);
  if (!text.ok()) return text.status();
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    uint64_t kills = 0;
    if (absl::ConsumePrefix(&line, "oom_kill ") && absl::SimpleAtoi(line, &kills)) return kills;
  }
  return absl::NotFoundError(absl::StrCat(file, " counts no OOM kills"));
}

std::optional<std::string> OomCounters::DirectoryOf(const std::optional<Mount>& mount,
                                                    const std::string& cgroup) {
  if (!mount.has_value() || !absl::StartsWith(cgroup, "/")) return std::nullopt;
  // Outside of this process's own cgroup namespace.
  if (absl::StrContains(cgroup, "/..")) return std::nullopt;
  absl::string_view below = cgroup;
  if (mount->root != "/" && !absl::ConsumePrefix(&below, mount->root)) return std::nullopt;
  if (!below.empty() && below.front() != '/') return std::nullopt;
  return absl::StrCat(mount->directory, absl::StripSuffix(below, "/"));
}

}  // namespace vmeventd
