#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"

namespace vmeventd::bench {

// Thousands of QMP monitors that cost only their sockets: all belong to this process, and one
// thread answers their handshakes. A daemon must follow them with --process-tracking off.
class FakeFleet {
 public:
  // Listens on `count` sockets in `directory`.
  FakeFleet(const std::string& directory, int count);
  ~FakeFleet();
  FakeFleet(const FakeFleet&) = delete;
  FakeFleet& operator=(const FakeFleet&) = delete;

  static std::string Name(int vm);
  int size() const { return size_; }
  // Number of monitors with a client that has asked for the VM's state, which ends the handshake.
  int Attached() const;
  // Number of monitors with a client that has left the negotiation of capabilities: ganeti-kvmd
  // sends nothing more.
  int Negotiated() const;
  // Number of lines (commands) that all clients have sent.
  uint64_t commands() const;

  // Sends lines to a VM's client. Lines that the client does not read are lost. Any thread.
  void Send(int vm, std::string_view lines);
  // Reports that the guest powered off, closes both sockets and removes the file, like QEMU.
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

// Processes with one monitor each, for a daemon that tracks processes. The constructor forks, so
// the program must have only one thread then.
class FakeProcesses {
 public:
  FakeProcesses(const std::string& directory, int count);
  ~FakeProcesses();
  FakeProcesses(const FakeProcesses&) = delete;
  FakeProcesses& operator=(const FakeProcesses&) = delete;

  // Ends every process at once, like a guest's poweroff.
  void StopAll();

 private:
  std::vector<pid_t> pids_;
};

}  // namespace vmeventd::bench
