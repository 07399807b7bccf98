#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/mutex.h"
#include "base/token_bucket.h"
#include "base/unique_fd.h"
#include "server/access/clients.h"
#include "server/access/refusals.h"
#include "server/config/listen_address.h"
#include "server/config/tls_files.h"
#include "server/transport/accepting_socket.h"
#include "server/transport/arrivals.h"
#include "server/transport/relay.h"

namespace vmeventd {

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

  // The listeners in the order of the options. Any thread.
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
  // Makes room for another connection of the peer.
  void CountClosed(size_t listener, const std::string& peer);
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
