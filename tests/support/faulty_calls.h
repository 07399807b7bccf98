#pragma once

#include <sys/types.h>

#include <functional>

namespace vmeventd {

// System calls of this process that fail while one of these objects exists, as a disk or a security
// module can make them fail. Linked into a test program, they replace libc's.

// readdir(3) fails with EIO after `entries` entries.
class FaultyReaddir {
 public:
  explicit FaultyReaddir(int entries);
  ~FaultyReaddir();
  FaultyReaddir(const FaultyReaddir&) = delete;
  FaultyReaddir& operator=(const FaultyReaddir&) = delete;
};

// getsockopt(2) fails with `error` for SO_PEERCRED.
class FaultyPeerCredentials {
 public:
  explicit FaultyPeerCredentials(int error);
  ~FaultyPeerCredentials();
  FaultyPeerCredentials(const FaultyPeerCredentials&) = delete;
  FaultyPeerCredentials& operator=(const FaultyPeerCredentials&) = delete;
};

// getsockopt(2) calls `then` once, before it looks who is at the other end of a socket.
class BeforePeerCredentials {
 public:
  explicit BeforePeerCredentials(std::function<void()> then);
  ~BeforePeerCredentials();
  BeforePeerCredentials(const BeforePeerCredentials&) = delete;
  BeforePeerCredentials& operator=(const BeforePeerCredentials&) = delete;
};

// Acts as a kernel without SO_PEERPIDFD, before Linux 6.5, on which the process `gone` has ended
// and `now` has its id: getsockopt(2) names that one.
class ReusedPeerPid {
 public:
  ReusedPeerPid(pid_t gone, pid_t now);
  ~ReusedPeerPid();
  ReusedPeerPid(const ReusedPeerPid&) = delete;
  ReusedPeerPid& operator=(const ReusedPeerPid&) = delete;
};

// epoll_ctl(2) fails with `error` where it would add a socket.
class FaultySocketPoll {
 public:
  explicit FaultySocketPoll(int error);
  ~FaultySocketPoll();
  FaultySocketPoll(const FaultySocketPoll&) = delete;
  FaultySocketPoll& operator=(const FaultySocketPoll&) = delete;
};

}  // namespace vmeventd
