#pragma once

#include <cstddef>

#include "absl/time/time.h"
#include "base/detached_threads.h"
#include "base/unique_fd.h"

namespace vmeventd {

// Closes descriptors on its own threads, even after its destruction. A close that signals can
// interrupt, as with SO_LINGER, ends after `patience`. Any thread.
class SocketCloser {
 public:
  static constexpr int kMaxThreads = 4;
  // Limit of the backlog. Beyond it, no new socket may be opened, because each would have to be
  // closed.
  static constexpr size_t kMaxWaiting = 256;

  explicit SocketCloser(absl::Duration patience = absl::Milliseconds(10));

  // Shuts the socket down and closes it soon. No epoll instance may still watch it, because epoll
  // holds a reference while it checks it.
  void Close(UniqueFd socket);
  size_t waiting() const { return threads_.waiting(); }
  bool full() const { return waiting() >= kMaxWaiting; }

 private:
  const absl::Duration patience_;
  DetachedThreads threads_;
};

}  // namespace vmeventd
