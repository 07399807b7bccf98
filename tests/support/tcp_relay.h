#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <string>
#include <thread>

#include "base/unique_fd.h"

namespace vmeventd::e2e {

// Stands on loopback for a server's port. While it is cut it forwards nothing and closes nothing,
// as a network that loses every packet.
class TcpRelay {
 public:
  explicit TcpRelay(uint16_t server_port);
  ~TcpRelay();

  uint16_t port() const { return port_; }
  void Cut(bool cut) { cut_ = cut; }

 private:
  struct Pair {
    UniqueFd client;
    UniqueFd server;
    bool broken = false;
  };

  void Run();
  // Forwards what one side has sent; false: the connection is over.
  static bool Forward(int from, int to);

  const uint16_t server_port_;
  uint16_t port_ = 0;
  UniqueFd listener_;
  UniqueFd stop_;
  std::atomic<bool> cut_ = false;
  std::list<Pair> pairs_;
  std::thread thread_;
};

}  // namespace vmeventd::e2e
