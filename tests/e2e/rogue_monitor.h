#ifndef VMEVENTD_TESTS_E2E_ROGUE_MONITOR_H_
#define VMEVENTD_TESTS_E2E_ROGUE_MONITOR_H_

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "watcher/io/unique_fd.h"

namespace vmeventd::e2e {

// A socket of the test's own process that says what it likes. It serves one connection after
// another: runs a script on each, and then reads until the peer closes.
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
  // `number` counts the connections, from 1 on.
  using Script = std::function<void(const Peer& peer, int number)>;

  RogueMonitor(const std::string& path, Script script);
  ~RogueMonitor();
  RogueMonitor(const RogueMonitor&) = delete;
  RogueMonitor& operator=(const RogueMonitor&) = delete;

  int connections() const { return connections_; }

 private:
  void Serve();

  const Script script_;
  const UniqueFd listener_;
  std::atomic<int> connections_ = 0;
  std::mutex mutex_;
  bool stopping_ = false;  // under mutex_, as below
  int peer_ = -1;
  std::thread thread_;
};

}  // namespace vmeventd::e2e

#endif  // VMEVENTD_TESTS_E2E_ROGUE_MONITOR_H_
