#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/system.h"

namespace vmeventd::bench {

// Thousands of QMP monitors at the price of their sockets: all of them belong to this process, and
// one thread answers their handshakes. A daemon follows them with --process-tracking off.
class FakeFleet {
 public:
  // Listens on `count` sockets in `directory`.
  FakeFleet(const std::string& directory, int count);
  ~FakeFleet();
  FakeFleet(const FakeFleet&) = delete;
  FakeFleet& operator=(const FakeFleet&) = delete;

  static std::string Name(int vm);
  int size() const { return size_; }
  // How many have a client that has asked for the state of its VM, which is the handshake's end.
  int Attached() const;
  // How many have a client that has left the negotiation of capabilities: ganeti-kvmd asks no more.
  int Negotiated() const;
  // How many lines all clients have sent: commands.
  uint64_t commands() const;

  // Any thread. What a VM's client does not read is lost.
  void Send(int vm, std::string_view lines);
  // Says that the guest powered off, closes both sockets and removes the file, as QEMU does.
  void Stop(int vm);

 private:
  struct Monitor {
    UniqueFd listener;
    UniqueFd client;
    bool negotiated = false;
    bool attached = false;
    std::string unread;
  };

  void Run();
  void Accept(int vm) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Answer(int vm) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string directory_;
  const int size_;
  const UniqueFd epoll_;
  const UniqueFd stop_;  // eventfd
  mutable Mutex mutex_;
  std::vector<Monitor> monitors_ ABSL_GUARDED_BY(mutex_);
  uint64_t commands_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

// Processes with a monitor each, for a daemon that tracks processes. Forks: made while the program
// has one thread.
class FakeProcesses {
 public:
  FakeProcesses(const std::string& directory, int count);
  ~FakeProcesses();
  FakeProcesses(const FakeProcesses&) = delete;
  FakeProcesses& operator=(const FakeProcesses&) = delete;

  // Stops every process at once, as a guest's poweroff does.
  void StopAll();

 private:
  std::vector<pid_t> pids_;
};

}  // namespace vmeventd::bench
