#ifndef VMEVENTD_TESTS_SYSTEM_HOSTILE_ROGUE_MONITOR_H_
#define VMEVENTD_TESTS_SYSTEM_HOSTILE_ROGUE_MONITOR_H_

#include <sys/types.h>

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "base/unique_fd.h"

namespace vmeventd::e2e {

// A process with a socket that says what it likes. It serves one connection after another: runs a
// script on each, and then reads until the peer closes.
class RogueMonitor {
 public:
  // The peer's connection as a script sees it. Each method returns false once the peer has closed.
  class Peer {
   public:
    explicit Peer(int fd) : fd_(fd) {}
    bool Send(const std::string& bytes) const;
    // Greets and answers the commands of the handshake, as a QEMU that runs.
    bool Handshake() const;

   private:
    bool ReadCommand() const;

    const int fd_;
  };
  // Runs in the process of the monitor. `number` counts the connections, from 1 on.
  using Script = std::function<void(const Peer& peer, int number)>;

  // The socket is there when it returns.
  RogueMonitor(const std::string& path, const Script& script);
  // Kills it.
  ~RogueMonitor();
  RogueMonitor(const RogueMonitor&) = delete;
  RogueMonitor& operator=(const RogueMonitor&) = delete;

 private:
  [[noreturn]] static void Serve(const UniqueFd& listener, const Script& script);

  pid_t pid_ = -1;
};

// A counter that scripts and the test share.
std::unique_ptr<std::atomic<int>, void (*)(std::atomic<int>*)> SharedCounter();

}  // namespace vmeventd::e2e

#endif  // VMEVENTD_TESTS_SYSTEM_HOSTILE_ROGUE_MONITOR_H_
