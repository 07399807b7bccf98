#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <string>
#include <thread>

#include "base/system.h"

namespace vmeventd::e2e {

// Stands on loopback for a server's port. While it is cut it forwards nothing and closes nothing,
// as a network that loses every packet.
class TcpRelay {
 public:
  explicit TcpRelay(uint16_t server_port);
  ~TcpRelay();

  uint16_t port() const { return port_; }
  void Cut(bool cut) { cut_ = cut; }
  // Drops what the server answers on the connection whose client sends `text` next, from then on.
  void DropAnswersAfter(const char* text) { drop_after_ = text; }
  uint64_t dropped() const { return dropped_; }

 private:
  struct Pair {
    UniqueFd client;
    UniqueFd server;
    bool drops_answers = false;
    bool broken = false;
  };

  void Run();
  // Forwards what one side has sent; false: the connection is over.
  bool Forward(Pair* pair, bool from_client);

  const uint16_t server_port_;
  uint16_t port_ = 0;
  UniqueFd listener_;
  UniqueFd stop_;
  std::atomic<bool> cut_ = false;
  std::atomic<const char*> drop_after_ = nullptr;
  std::atomic<uint64_t> dropped_ = 0;  // bytes
  std::list<Pair> pairs_;
  std::thread thread_;
};

}  // namespace vmeventd::e2e
