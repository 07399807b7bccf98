#pragma once

#include <sys/types.h>

#include <functional>
#include <string>

#include "base/unique_fd.h"

namespace vmeventd::e2e {

// A process with a socket that sends arbitrary data. It serves one connection after another: runs a
// script on each, and then reads until the peer closes.
class RogueMonitor {
 public:
  // The peer's connection, for a script. Each method returns false once the peer has closed.
  class Peer {
   public:
    explicit Peer(int fd) : fd_(fd) {}
    bool Send(const std::string& bytes) const;
    // Sends the greeting and the answers of the handshake, like a running QEMU.
    bool Handshake() const;
    int fd() const { return fd_; }

   private:
    bool ReadCommand() const;

    const int fd_;
  };
  // Runs in the process of the monitor. `number` counts the connections, from 1 on.
  using Script = std::function<void(const Peer& peer, int number)>;

  // The socket exists when it returns.
  RogueMonitor(const std::string& path, const Script& script);
  // Kills it.
  ~RogueMonitor();
  RogueMonitor(const RogueMonitor&) = delete;
  RogueMonitor& operator=(const RogueMonitor&) = delete;

 private:
  [[noreturn]] static void Serve(const UniqueFd& listener, const Script& script);

  pid_t pid_ = -1;
};

}  // namespace vmeventd::e2e
