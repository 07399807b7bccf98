#pragma once

#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include <cstddef>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace vmeventd {

// A cgroup of the test's own with a limit of its memory, where the machine lets one be made. With
// cgroup v1 it has the same name in systemd's hierarchy, if there is one.
class MemoryCgroup {
 public:
  explicit MemoryCgroup(size_t limit_bytes) {
    const std::string name = absl::StrCat("vmeventd-test-", getpid());
    if (Make("/sys/fs/cgroup/memory/" + name, "memory.limit_in_bytes", limit_bytes)) {
      const std::string unit = "/sys/fs/cgroup/systemd/" + name;
      if (mkdir(unit.c_str(), 0755) == 0) paths_.push_back(unit);
    } else {
      Make("/sys/fs/cgroup/" + name, "memory.max", limit_bytes);
    }
  }
  ~MemoryCgroup() {
    for (const std::string& path : paths_) rmdir(path.c_str());
  }
  MemoryCgroup(const MemoryCgroup&) = delete;
  MemoryCgroup& operator=(const MemoryCgroup&) = delete;

  bool made() const { return !paths_.empty(); }
  bool Add(pid_t pid) const { return Write(paths_[0] + "/cgroup.procs", absl::StrCat(pid)); }
  // The line by which a shell, and what it starts, joins.
  std::string JoinLine() const {
    std::string line;
    for (const std::string& path : paths_) line += "echo 0 >" + path + "/cgroup.procs && ";
    return line;
  }

 private:
  static bool Write(const std::string& path, const std::string& text) {
    std::ofstream file(path, std::ios::out | std::ios::in);
    return static_cast<bool>(file << text << std::flush);
  }
  bool Make(const std::string& path, const std::string& limit_file, size_t limit) {
    if (mkdir(path.c_str(), 0755) != 0) return false;
    if (!Write(path + "/" + limit_file, absl::StrCat(limit))) {
      rmdir(path.c_str());
      return false;
    }
    paths_.push_back(path);
    return true;
  }

  std::vector<std::string> paths_;  // the first limits the memory
};

}  // namespace vmeventd
