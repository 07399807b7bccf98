#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

namespace vmeventd {

// System calls of this process that fail while one of these objects exists, as a disk or a security
// module can make them fail. Linked into a test program, these calls replace libc's.
class ScopedFault {
 public:
  ~ScopedFault() { end_(); }
  ScopedFault(const ScopedFault&) = delete;
  ScopedFault& operator=(const ScopedFault&) = delete;

 protected:
  explicit ScopedFault(void (*end)()) : end_(end) {}

 private:
  void (*const end_)();
};

// readdir(3) fails with EIO after `entries` entries.
struct FaultyReaddir : ScopedFault {
  explicit FaultyReaddir(int entries);
};

// getsockopt(2) fails with `error` for SO_PEERCRED.
struct FaultyPeerCredentials : ScopedFault {
  explicit FaultyPeerCredentials(int error);
};

// getsockopt(2) calls `then` once, before it reads who is at the other end of a socket.
struct BeforePeerCredentials : ScopedFault {
  explicit BeforePeerCredentials(std::function<void()> then);
};

// Acts like a kernel before Linux 6.5, without SO_PEERPIDFD, on which the process `gone` has ended
// and the process `now` has reused its pid: getsockopt(2) returns `now` for `gone`.
struct ReusedPeerPid : ScopedFault {
  ReusedPeerPid(pid_t gone, pid_t now);
};

// Makes inotify_add_watch(2), statx(2) and fstatat(2) hang on all threads for paths below
// `directory`, as a file system that hangs does.
struct HangingDirectory : ScopedFault {
  explicit HangingDirectory(std::string directory);
};

}  // namespace vmeventd
