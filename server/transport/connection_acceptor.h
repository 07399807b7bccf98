#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/event_loop.h"
#include "base/mutex.h"
#include "base/receiving_socket.h"
#include "server/access/clients.h"
#include "server/access/refusals.h"
#include "server/config/tls_files.h"
#include "server/transport/arrivals.h"
#include "server/transport/listen_socket.h"
#include "server/transport/relay.h"

namespace vmeventd {

// Accepts the connections of listening sockets, and serves them behind a relay once their client
// has shown that it speaks HTTP/2, and who it is; or closes them if there are too many: gRPC 1.51
// itself takes as many as come, until no descriptor is left for the VMs.
//
// The limit is one listener's, so that a crowd on one leaves the others reachable; one peer (see
// Clients) may hold half of it.
//
// Two threads: one accepts and makes handshakes, whose cost is any stranger's to cause; the other
// relays, and is not held up by it.
class ConnectionAcceptor {
 public:
  struct Listener {
    ListenAttempts* socket = nullptr;  // outlives StopAccepting; until then the accepting thread's
    std::string name;                  // for messages
    std::function<void(int)> take;     // gets the descriptor of a connection; relay's thread
    std::function<void()> listening = [] {};  // the socket is open now; accepting thread
    TlsFiles* tls = nullptr;                  // null: plain connections
  };
  // The descriptors that a listener takes at most: three for each connection, and one for each that
  // is not served yet.
  static int DescriptorsFor(int max_connections) {
    return max_connections * kDescriptorsOfConnection + static_cast<int>(ArrivalLimits().at_once);
  }
  // A listener's share of its descriptors: `connections` is at least 1.
  struct Seats {
    int connections;
    size_t arrivals;
  };
  static Seats SeatsWithin(int descriptors, int max_connections);

  struct Options {
    std::vector<Listener> listeners;
    int max_connections;
    RelayLimits relay;
    ArrivalLimits arrivals;
    // Called by RunRelay, about every second while a connection is open.
    std::function<void()> tick = [] {};
  };

  // The pointers outlive it. Nothing is accepted before RunAccepting or AcceptOnce. The error is of
  // the system, which is out of descriptors.
  static absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> Create(Options options,
                                                                    const Clock* clock,
                                                                    Clients* clients,
                                                                    RefusalCounters* refusals);
  ~ConnectionAcceptor();

  // Accepts what waits, and continues handshakes, after waiting at most `timeout`. False:
  // StopAccepting was called, and all that was not served yet is closed.
  bool AcceptOnce(absl::Duration timeout);
  // Calls AcceptOnce until it is false.
  void RunAccepting() {
    while (AcceptOnce(absl::InfiniteDuration())) {
    }
  }
  // Relays what waits, after waiting for it at most `timeout`. False: Stop was called, and no
  // connection is left or its time has passed.
  bool RelayOnce(absl::Duration timeout);
  // Calls RelayOnce until it is false.
  void RunRelay();

  // Calls `done` on the relay's thread once both threads have had a turn. Any thread.
  void CallInTurn(std::function<void()> done);
  // Accepts nothing from now on; connections stay. Any thread.
  void StopAccepting();
  // Ends all connections: what the server has sent still arrives. RunRelay ends once none is left,
  // or after `timeout`, when it closes the rest. Any thread.
  void Stop(absl::Duration timeout);

  // The connections of each listener that are served now, in the order of the listeners. Any
  // thread.
  std::vector<int> open_connections() const;
  // Closed connections whose sockets wait to be closed. Any thread.
  size_t sockets_to_close() const { return closer_.waiting(); }

 private:
  struct Connection {
    size_t listener;
    std::string peer;
    std::string name;
  };
  // The connections of one listener.
  struct Open {
    int connections = 0;
    absl::flat_hash_map<std::string, int> peers;  // number of each peer's
  };

  static constexpr int kDescriptorsOfConnection = 3;  // the client's, and the relay's pair
  class Accepting;

  ConnectionAcceptor(Options options, std::unique_ptr<EventLoop> accept_loop,
                     std::unique_ptr<EventLoop> relay_loop, Clients* clients,
                     RefusalCounters* refusals);
  // Opens the sockets that are not open yet. Returns the time until another is due.
  absl::Duration OpenSockets();
  // Has epoll wait for the open sockets, or not.
  void WatchSockets(bool watch);
  int DescriptorOf(size_t listener) const {
    return options_.listeners[listener].socket->socket()->fd();
  }
  void Accept(size_t listener);
  // Gives a connection its seat and passes it to the relay's thread, or refuses it.
  void OnArrived(Arrivals::Arrived arrived);
  void Serve(Arrivals::Arrived arrived);
  void Forget(Relay::Id id);
  void GiveSeatBack(size_t listener, const std::string& peer);
  // Returns the reason for which one more connection of `peer` is too many.
  std::optional<Refusal> FindRefusal(const Open& open, const std::string& peer) const;
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
  std::vector<std::unique_ptr<Accepting>> watched_;  // indexed by listener; null: not open yet
  bool out_of_descriptors_ = false;

  // Belongs to the relay's thread.
  Relay relay_;
  absl::flat_hash_map<Relay::Id, Connection> connections_;
  absl::Time end_ = absl::InfiniteFuture();  // given by Stop; real time, as SteadyNow
  bool ending_ = false;

  mutable Mutex mutex_;
  std::vector<Open> open_ ABSL_GUARDED_BY(mutex_);  // indexed by listener
  // Of closed connections: any stranger can cause them.
  TokenBucket log_lines_ ABSL_GUARDED_BY(mutex_){/*burst=*/10, /*per_second=*/0.1};

  Mutex accepting_mutex_;  // held while connections are accepted
  bool accepting_ ABSL_GUARDED_BY(accepting_mutex_) = true;
};

}  // namespace vmeventd
