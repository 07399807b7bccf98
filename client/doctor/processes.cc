#include "client/doctor/processes.h"

#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <functional>
#include <limits>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "base/account_names.h"
#include "base/small_file.h"
#include "watcher/core/qemu_arguments.h"

namespace vmeventd::client {
namespace {

constexpr size_t kMostArgumentBytes = 1 << 20;

// Calls `take` with each entry whose name is a number. False: the directory cannot be read.
bool ForEachNumber(const std::string& directory, const std::function<void(int64_t)>& take) {
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(opendir(directory.c_str()), closedir);
  if (entries == nullptr) return false;
  // NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is this function's own.
  while (const dirent* entry = readdir(entries.get())) {
    int64_t number = 0;
    if (absl::SimpleAtoi(static_cast<const char*>(entry->d_name), &number)) take(number);
  }
  return true;
}

std::string ReadLink(const std::string& path) {
  std::array<char, 256> target;
  const ssize_t size = readlink(path.c_str(), target.data(), target.size());
  return size < 0 ? "" : std::string(target.data(), static_cast<size_t>(size));
}

// The program and the state of "PID (PROGRAM) STATE ...": the program's name may have ") " in it.
bool ParseStat(absl::string_view stat, NodeProcess* process) {
  const size_t begin = stat.find('(');
  const size_t end = stat.rfind(')');
  if (begin == absl::string_view::npos || end == absl::string_view::npos ||
      end + 2 >= stat.size()) {
    return false;
  }
  process->program = std::string(stat.substr(begin + 1, end - begin - 1));
  process->state = stat[end + 2];
  return true;
}

uint64_t DescriptorLimit(absl::string_view limits) {
  for (absl::string_view line : absl::StrSplit(limits, '\n')) {
    if (!absl::ConsumePrefix(&line, "Max open files")) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipWhitespace());
    uint64_t limit = 0;
    if (!words.empty() && absl::SimpleAtoi(words[0], &limit)) return limit;
    return std::numeric_limits<uint64_t>::max();  // "unlimited"
  }
  return 0;
}

void ReadSockets(const std::string& directory, NodeProcess* process) {
  process->sees_descriptors = ForEachNumber(directory, [&](int64_t number) {
    const std::string target = ReadLink(absl::StrCat(directory, "/", number));
    absl::string_view inode = target;
    uint32_t value = 0;
    if (absl::ConsumePrefix(&inode, "socket:[") && absl::ConsumeSuffix(&inode, "]") &&
        absl::SimpleAtoi(inode, &value)) {
      process->sockets[static_cast<int>(number)] = value;
    }
  });
}

// False: it has ended, or is no process with a program.
bool ReadProcess(const std::string& proc, int64_t pid, NodeProcess* process) {
  const std::string directory = absl::StrCat(proc, "/", pid);
  const auto stat = ReadSmallFile(absl::StrCat(directory, "/stat"));
  const auto arguments = ReadSmallFile(absl::StrCat(directory, "/cmdline"), kMostArgumentBytes);
  if (!stat.ok() || !arguments.ok() || arguments->empty()) return false;
  process->pid = pid;
  if (!ParseStat(*stat, process)) return false;
  process->arguments = SplitCommandLine(*arguments);
  struct stat owner = {};
  if (::stat(directory.c_str(), &owner) == 0) process->user = UserName(owner.st_uid);
  process->network_namespace = ReadLink(absl::StrCat(directory, "/ns/net"));
  const auto limits = ReadSmallFile(absl::StrCat(directory, "/limits"));
  if (limits.ok()) process->descriptor_limit = DescriptorLimit(*limits);
  ReadSockets(absl::StrCat(directory, "/fd"), process);
  return true;
}

}  // namespace

std::vector<NodeProcess> ReadProcesses(const std::string& proc) {
  std::vector<int64_t> pids;
  ForEachNumber(proc, [&pids](int64_t pid) { pids.push_back(pid); });
  std::sort(pids.begin(), pids.end());
  std::vector<NodeProcess> processes;
  for (const int64_t pid : pids) {
    NodeProcess process;
    if (ReadProcess(proc, pid, &process)) processes.push_back(std::move(process));
  }
  return processes;
}

}  // namespace vmeventd::client
