#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/mutex.h"
#include "base/openssl_ptr.h"
#include "base/receiving_socket.h"
#include "server/access/access.h"
#include "server/config/tls_files.h"
#include "server/transport/listen_socket.h"
#include "server/transport/relay.h"

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
    absl::flat_hash_map<std::string, size_t> peers;  // number of each peer's
  };
  std::vector<Listener> listeners_;
};

// Shares of the open descriptors. VMs get what listeners do not need, but at least three quarters,
// so that a low limit reduces connections first.
struct DescriptorShares {
  int vms;
  // Limits of each listener; at least 1.
  int connections;
  size_t arrivals;
};
DescriptorShares ShareDescriptors(uint64_t limit, size_t listeners, int max_connections);

struct ListenerState {
  ListenAddress address;  // with the port that the kernel chose, once it listens
  bool listening = false;
  int connections = 0;  // number that are served now
};

// Accepts the connections of listening sockets. Serves them through a relay once the client has
// proved who it is and that it uses HTTP/2; closes them if there are too many. gRPC 1.51 itself
// accepts any number, until no descriptor is left for the VMs.
//
// Each listener has its own limit, so that a crowd on one leaves the others reachable; one peer
// (see Clients) may use half of it.
//
// Two threads: one accepts and makes handshakes, whose cost any stranger can cause; the other
// relays, and is not delayed by that.
class ConnectionAcceptor {
 public:
  struct Options {
    std::vector<ListenAddress> addresses;
    TlsFiles* tls = nullptr;  // for TCP connections; null: no TLS
    // Gets the descriptor of a connection; called on the relay's thread.
    std::function<void(int)> take;
    int max_connections;
    RelayLimits relay;
    ArrivalLimits arrivals;
    // Called by RunRelay about every second while a connection is open.
    std::function<void()> tick = [] {};
    // Called when a listener's socket was opened or lost; accepting thread.
    std::function<void()> listening = [] {};
  };

  // Opens the sockets, now or later: see AcceptingSocket. The pointers outlive it. Nothing is
  // accepted before RunAccepting or AcceptOnce. Errors: the system is out of descriptors; or
  // ALREADY_EXISTS: another process listens on a Unix socket.
  static absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> Create(Options options,
                                                                    const Clock* clock,
                                                                    Clients* clients,
                                                                    RefusalCounters* refusals);

  // Accepts what waits, and continues handshakes, after waiting at most `timeout`. False:
  // StopAccepting was called, and all connections that were not served yet are closed.
  bool AcceptOnce(absl::Duration timeout) {
    accept_loop_->RunOnce(timeout);
    return accepting_;
  }
  // Calls AcceptOnce until it is false.
  void RunAccepting() {
    while (AcceptOnce(absl::InfiniteDuration())) {
    }
  }
  // Relays what waits, after waiting for it at most `timeout`. False: Stop was called, and no
  // connection is left or the timeout of Stop has passed.
  bool RelayOnce(absl::Duration timeout);
  // Calls RelayOnce until it is false.
  void RunRelay();

  // Calls `done` on the relay's thread once both threads have had a turn. Any thread.
  void CallInTurn(std::function<void()> done);
  // Makes the accepting thread close its sockets; connections stay. Any thread.
  void StopAccepting() {
    accept_loop_->Post([this] {
      accepting_ = false;
      sockets_.clear();
      arrivals_.CloseAll();
    });
  }
  // Ends all connections; what the server has already sent still arrives. RunRelay ends once none
  // is left; after `timeout` it closes the rest. Any thread.
  void Stop(absl::Duration timeout);

  // In the order of the options. Any thread.
  std::vector<ListenerState> listeners() const;
  // Closed connections whose sockets wait to be closed. Any thread.
  size_t sockets_to_close() const { return closer_.waiting(); }

 private:
  struct Connection {
    size_t listener;
    std::string peer;
    std::string name;
  };
  struct Open {
    ListenerState state;
    absl::flat_hash_map<std::string, int> peers;  // number of each peer's connections
  };

  ConnectionAcceptor(Options options, std::unique_ptr<EventLoop> accept_loop,
                     std::unique_ptr<EventLoop> relay_loop, Clients* clients,
                     RefusalCounters* refusals);
  absl::Status Listen();
  void OnAccepted(size_t listener, UniqueFd fd);
  // Counts a connection as served and passes it to the relay's thread, or refuses it.
  void OnArrived(Arrivals::Arrived arrived);
  void Serve(Arrivals::Arrived arrived);
  void Forget(Relay::Id id);
  void GiveSeatBack(size_t listener, const std::string& peer);
  void RefuseForDescriptors(size_t listener);
  void LogClosed(size_t listener, const std::string& peer, const std::string& why);
  // Returns whether a line may be logged now.
  bool MayLog() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return log_lines_.Take(accept_loop_->Now().monotonic);
  }

  const Options options_;
  Clients* const clients_;
  RefusalCounters* const refusals_;
  SocketCloser closer_;  // outlives the loops, which hold sockets

  const std::unique_ptr<EventLoop> accept_loop_;
  const std::unique_ptr<EventLoop> relay_loop_;

  // Belongs to the accepting thread.
  Arrivals arrivals_;
  std::vector<std::unique_ptr<AcceptingSocket>> sockets_;  // indexed by listener; none: stopped
  bool accepting_ = true;

  // Belongs to the relay's thread.
  Relay relay_;
  absl::flat_hash_map<Relay::Id, Connection> connections_;
  absl::Time end_ = absl::InfiniteFuture();  // set by Stop; on the clock of SteadyNow()
  bool ending_ = false;

  mutable Mutex mutex_;
  std::vector<Open> open_ ABSL_GUARDED_BY(mutex_);  // indexed by listener
  // Bounds the lines about closed connections: any stranger can cause those.
  TokenBucket log_lines_ ABSL_GUARDED_BY(mutex_){/*burst=*/10, /*per_second=*/0.1};
};

}  // namespace vmeventd
