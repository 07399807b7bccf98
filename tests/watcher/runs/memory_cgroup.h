#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"

namespace vmeventd {

// A cgroup of the test's own with a limit of its memory, where the machine lets one be made.
class MemoryCgroup {
 public:
  explicit MemoryCgroup(size_t limit_bytes) {
    const std::string name = absl::StrCat("vmeventd-test-", getpid());
    if (Make("/sys/fs/cgroup/memory/" + name, "memory.limit_in_bytes", limit_bytes)) return;
    Make("/sys/fs/cgroup/" + name, "memory.max", limit_bytes);
  }
  ~MemoryCgroup() {
    if (made()) rmdir(path_.c_str());
  }
  MemoryCgroup(const MemoryCgroup&) = delete;
  MemoryCgroup& operator=(const MemoryCgroup&) = delete;

  bool made() const { return !path_.empty(); }
  bool Add(pid_t pid) const { return Write(path_ + "/cgroup.procs", absl::StrCat(pid)); }

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
    path_ = path;
    return true;
  }

  std::string path_;
};

}  // namespace vmeventd
