#ifndef VMEVENTD_SERVER_TRANSPORT_CONNECTION_ACCEPTOR_H_
#define VMEVENTD_SERVER_TRANSPORT_CONNECTION_ACCEPTOR_H_

#include <chrono>
#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "base/receiving_socket.h"
#include "server/access/clients.h"
#include "server/access/refusals.h"
#include "server/transport/listen_attempts.h"
#include "server/transport/relay.h"

namespace vmeventd {

// Accepts the connections of listening sockets and hands each on behind a relay, or closes it where
// there are too many: gRPC 1.51 itself takes as many as come, until no descriptor is left for the
// VMs.
//
// The limit is one listener's, so that a crowd on one leaves the others reachable; and one peer
// (see Clients) may hold half of it. Runs and relays on one thread.
class ConnectionAcceptor {
 public:
  struct Listener {
    ListenAttempts* socket = nullptr;  // outlives StopAccepting; until then the acceptor's alone
    std::string name;                  // for messages
    // These run on the acceptor's thread.
    std::function<void(int)> take;            // gets the descriptor of a connection
    std::function<void()> listening = [] {};  // the socket is open now
  };

  // The pointers outlive it. Nothing is accepted before Run or RunOnce. `tick` is called by Run,
  // about every second while a connection is open.
  ConnectionAcceptor(
      std::vector<Listener> listeners, int max_connections, const RelayLimits& limits,
      const Clock* clock, Clients* clients, RefusalCounters* refusals,
      std::function<void()> tick = [] {});

  // Accepts and relays what waits, after waiting for it at most `timeout`. False: Stop was called,
  // and no connection is left or its time has passed.
  bool RunOnce(absl::Duration timeout);
  // RunOnce until it is false.
  void Run();

  // Calls `done` on the acceptor's thread, in one of its next turns. Any thread.
  void CallInTurn(std::function<void()> done);
  // Accepts nothing from now on; connections go on. Any thread.
  void StopAccepting();
  // Ends all connections: what the server has sent still arrives. Run ends once none is left, or
  // after `timeout`, when it closes the rest. Any thread.
  void Stop(absl::Duration timeout);

  // The connections of each listener that are open now, in the order of the listeners. Any thread.
  std::vector<int> open_connections() const;

 private:
  struct Connection {
    size_t listener;
    std::string peer;
    std::string name;
  };
  // What one listener has accepted.
  struct Open {
    int connections = 0;
    absl::flat_hash_map<std::string, int> peers;  // how many of each
  };

  // Time that passes in earnest, whatever clock_ says.
  using Steady = std::chrono::steady_clock;

  // Until Run has to end.
  absl::Duration TimeLeft() const;
  // Opens the sockets that are not open yet. Returns the time until another is due.
  absl::Duration OpenSockets();
  void Accept(size_t listener);
  void Handle(size_t listener, ReceivingSocket socket);
  void Forget(Relay::Id id);
  // Why one more connection of `peer` is too many.
  std::optional<Refusal> FindRefusal(size_t listener, const std::string& peer) const;
  void Refuse(size_t listener, const std::string& peer, Refusal reason);
  void RefuseForDescriptors(size_t listener);

  const std::vector<Listener> listeners_;
  const int max_connections_;
  const Clock* const clock_;
  Clients* const clients_;
  RefusalCounters* const refusals_;
  const std::function<void()> tick_;
  Relay relay_;

  // Acceptor's thread.
  absl::flat_hash_map<Relay::Id, Connection> connections_;
  std::vector<bool> watched_;  // which of listeners_ are open
  bool out_of_descriptors_ = false;
  bool ending_ = false;
  absl::Duration logged_at_ = -absl::InfiniteDuration();

  mutable Mutex mutex_;
  std::vector<Open> open_ ABSL_GUARDED_BY(mutex_);                 // in the order of listeners_
  std::optional<Steady::time_point> end_ ABSL_GUARDED_BY(mutex_);  // given by Stop
  std::vector<std::function<void()>> in_turn_ ABSL_GUARDED_BY(mutex_);

  Mutex accepting_mutex_;  // held while connections are accepted
  bool accepting_ ABSL_GUARDED_BY(accepting_mutex_) = true;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_TRANSPORT_CONNECTION_ACCEPTOR_H_
