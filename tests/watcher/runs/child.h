#pragma once

#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"

namespace vmeventd {

// A child process that obeys commands, and then ends with the code it returns. Killed and
// reaped with this object, if that is still to be done.
class Child {
 public:
  explicit Child(const std::function<int()>& body) : pid_(fork()) {
    if (pid_ < 0) std::abort();
    if (pid_ == 0) _exit(body());
  }
  ~Child() {
    if (pid_ <= 0) return;
    kill(pid_, SIGKILL);
    Reap();
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  pid_t pid() const { return pid_; }
  UniqueFd OpenPidfd() const {
    return UniqueFd(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
  }
  // Returns once it has ended, and leaves the zombie.
  void AwaitEnd() const {
    siginfo_t info;
    if (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT) != 0) std::abort();
  }
  void Reap() {
    waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_;
};

// Waits to be killed.
inline int Sleep() {
  while (true) pause();
}

// This process acts as another user, who may not look into the processes of the first.
class AsNobody {
 public:
  AsNobody() : possible_(seteuid(65534) == 0) {}
  ~AsNobody() {
    if (possible_ && seteuid(0) != 0) std::abort();
  }
  AsNobody(const AsNobody&) = delete;
  AsNobody& operator=(const AsNobody&) = delete;

  bool possible() const { return possible_; }

 private:
  const bool possible_;
};

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
