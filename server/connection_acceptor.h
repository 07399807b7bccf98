#ifndef VMEVENTD_SERVER_CONNECTION_ACCEPTOR_H_
#define VMEVENTD_SERVER_CONNECTION_ACCEPTOR_H_

#include <sys/types.h>

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "server/refusals.h"
#include "watcher/io/clock.h"
#include "watcher/io/mutex.h"
#include "watcher/io/unique_fd.h"

namespace vmeventd {

// Accepts the connections of listening sockets and hands each on, or closes it where there are too
// many: gRPC 1.51 itself takes as many as come, until no descriptor is left for the VMs.
//
// The limit is one listener's, so that a crowd on one leaves the others reachable; and one peer (an
// IP address, or a user on a Unix socket) may hold half of it. Whoever has been handed a connection
// closes it without saying so: it counts until its descriptor is found to be something else.
class ConnectionAcceptor {
 public:
  struct Listener {
    int fd = -1;                    // listens, non-blocking; outlives the acceptor
    std::string name;               // for messages
    std::function<void(int)> take;  // gets the descriptor of a connection; acceptor's thread
  };

  // `clock` and `refusals` outlive it. Nothing is accepted before Run or RunOnce.
  ConnectionAcceptor(std::vector<Listener> listeners, int max_connections, const Clock* clock,
                     RefusalCounters* refusals);

  // Accepts what waits, after waiting for it at most `timeout`. False: Stop was called.
  bool RunOnce(absl::Duration timeout);
  // RunOnce until Stop.
  void Run();
  // Any thread.
  void Stop();

  // The connections of each listener that are open now, in the order of the listeners. Any thread.
  std::vector<int> open_connections();

 private:
  struct Connection {
    ino_t inode;  // of the socket: no two have the same
    std::string peer;
  };
  // What one listener has accepted.
  struct Open {
    absl::flat_hash_map<int, Connection> connections;  // by descriptor
    absl::flat_hash_map<std::string, int> peers;       // how many of each
    absl::Duration swept_at = -absl::InfiniteDuration();

    void Add(int fd, Connection connection);
    void Forget(int fd);
    // Forgets the connections that have been closed.
    void Sweep(absl::Duration now);
  };

  void Accept(size_t listener);
  void Handle(size_t listener, UniqueFd fd);
  // Why one more connection of `peer` is too many.
  std::optional<Refusal> FindRefusal(const Open& open, const std::string& peer) const;
  bool Admit(size_t listener, const std::string& peer) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Refuse(size_t listener, const std::string& peer, Refusal reason)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::vector<Listener> listeners_;
  const int max_connections_;
  const Clock* const clock_;
  RefusalCounters* const refusals_;
  const UniqueFd stop_;              // an eventfd
  bool out_of_descriptors_ = false;  // acceptor's thread

  Mutex mutex_;
  std::vector<Open> open_ ABSL_GUARDED_BY(mutex_);  // in the order of listeners_
  absl::Duration logged_at_ ABSL_GUARDED_BY(mutex_) = -absl::InfiniteDuration();
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_CONNECTION_ACCEPTOR_H_
