#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/event_loop.h"
#include "base/openssl_ptr.h"
#include "base/receiving_socket.h"
#include "server/access/refusals.h"

namespace vmeventd {

struct ArrivalLimits {
  // Limit of a listener's unfinished connections. Beyond it, the oldest one of the peer that has
  // the most is closed.
  size_t at_once = 500;
  absl::Duration time = absl::Seconds(10);
};

// The connections that were accepted and are not served yet: with TLS until the handshake is done,
// else until the client has sent the preface of HTTP/2. They do not count as served connections,
// and cost one descriptor each. Loop thread.
class Arrivals {
 public:
  struct Arrived {
    size_t listener;
    ReceivingSocket socket;
    SslPtr tls;  // null: a plain connection
    std::string peer;
  };

  // Gets the listener, the peer and, for people, the reason, when a connection was closed because
  // its client sent invalid data.
  using Refused = std::function<void(size_t, const std::string&, const std::string&)>;

  // `arrived` and `refused` are called from the loop. The pointers outlive it.
  Arrivals(size_t listeners, ArrivalLimits limits, EventLoop* loop, RefusalCounters* refusals,
           std::function<void(Arrived)> arrived, Refused refused);
  ~Arrivals() { CloseAll(); }
  Arrivals(const Arrivals&) = delete;
  Arrivals& operator=(const Arrivals&) = delete;

  // Adds a connection; a plain one if `context` is null.
  void Add(size_t listener, ReceivingSocket socket, std::string peer, SSL_CTX* context);
  void CloseAll() {
    while (!arrivals_.empty()) Take(&arrivals_.begin()->second);
  }

  size_t size() const { return arrivals_.size(); }

 private:
  struct Arrival : FdHandler {
    Arrival(Arrivals* all, uint64_t number, Arrived begun)
        : arrivals(all), id(number), connection(std::move(begun)) {}
    void OnFdReady(uint32_t /*events*/) override { arrivals->OnReady(this); }

    Arrivals* const arrivals;
    const uint64_t id;
    Arrived connection;
    TimerId timer;
  };

  enum class Step { kWaits, kDone, kFailed };
  // kFailed sets `*why`; empty: the client has sent nothing.
  static Step Advance(const Arrived& connection, std::string* why);
  static Step AdvanceTls(SSL* tls, std::string* why);
  void OnReady(Arrival* arrival);
  void MakeRoom(size_t listener);
  Arrived Take(Arrival* arrival);

  const ArrivalLimits limits_;
  EventLoop* const loop_;
  RefusalCounters* const refusals_;
  const std::function<void(Arrived)> arrived_;
  const Refused refused_;

  uint64_t next_id_ = 0;
  std::map<uint64_t, Arrival> arrivals_;  // oldest first
  struct Listener {
    size_t arrivals = 0;
    absl::flat_hash_map<std::string, size_t> peers;  // unfinished connections by peer
  };
  std::vector<Listener> listeners_;
};

}  // namespace vmeventd
