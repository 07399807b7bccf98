#pragma once

#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <functional>

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

}  // namespace vmeventd
