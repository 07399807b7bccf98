#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/openssl_ptr.h"
#include "base/receiving_socket.h"
#include "base/unique_fd.h"
#include "server/access/refusals.h"

namespace vmeventd {

struct ArrivalLimits {
  // Unfinished ones of a listener. Where there are more, one goes of the peer, or peers, with the
  // most: the oldest that has sent nothing, else the oldest.
  size_t at_once = 500;
  absl::Duration time = absl::Seconds(10);
};

// The connections that were accepted and are not served yet: over TLS until the handshake is done,
// else until the client has sent the preface of HTTP/2. They hold no seat of those that are served,
// and cost one descriptor each. One thread.
class Arrivals {
 public:
  // A connection that may be served.
  struct Arrived {
    size_t listener;
    ReceivingSocket socket;
    SslPtr tls;  // null: a plain connection
    std::string peer;
  };

  // `arrived` is called within RunOnce. The pointers outlive it.
  Arrivals(size_t listeners, ArrivalLimits limits, const Clock* clock, RefusalCounters* refusals,
           std::function<void(Arrived)> arrived);
  ~Arrivals();
  Arrivals(const Arrivals&) = delete;
  Arrivals& operator=(const Arrivals&) = delete;

  // `context`: null for a plain connection.
  void Add(size_t listener, ReceivingSocket socket, std::string peer, SSL_CTX* context);
  void CloseAll();

  // Readable while RunOnce has something to do before the deadline.
  int fd() const { return epoll_.get(); }
  // Goes on with what is ready now, and closes what has had its time. Does not wait.
  void RunOnce();
  // Until the next has had its time.
  absl::Duration UntilDeadline() const;
  size_t size() const { return by_id_.size(); }

 private:
  struct Arrival {
    uint64_t id;
    size_t listener;
    ReceivingSocket socket;
    SslPtr tls;
    std::string peer;
    absl::Duration until;
    bool spoke;  // has been seen to send something
  };
  using Place = std::list<Arrival>::iterator;

  enum class Step { kWaits, kDone, kFailed };
  static Step Advance(Arrival* arrival);
  static bool HasSpoken(Arrival* arrival);
  // Closes one of the peers that have the most there.
  void MakeRoom(size_t listener);
  Arrival Take(Place place);

  const ArrivalLimits limits_;
  const Clock* const clock_;
  RefusalCounters* const refusals_;
  const std::function<void(Arrived)> arrived_;
  const UniqueFd epoll_;

  uint64_t next_id_ = 0;
  std::list<Arrival> arrivals_;  // oldest first
  absl::flat_hash_map<uint64_t, Place> by_id_;
  struct Listener {
    size_t arrivals = 0;
    absl::flat_hash_map<std::string, size_t> peers;  // how many of each
  };
  std::vector<Listener> listeners_;
};

}  // namespace vmeventd
