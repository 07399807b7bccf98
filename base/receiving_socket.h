#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>
#include <utility>

#include "absl/time/time.h"
#include "base/detached_threads.h"
#include "base/system.h"

// Protects a thread from the descriptors that the peer of a Unix socket passes to it
// (SCM_RIGHTS). The thread that drops the last reference to one waits for whatever its close waits
// for, a TCP socket with SO_LINGER for as long as the peer chose; the read that meets it drops it,
// and so does the close of the socket it is in. Linux 6.16 refuses them for us. Before it, a socket
// is looked at before it is read, and closed on a thread that nobody waits for.

namespace vmeventd {

// Makes the kernel refuse descriptors, if it can, on `fd`: a Unix socket that is not connected yet,
// or a listening one, for all that it accepts.
void RefusePassedDescriptors(int fd);

// Closes descriptors on threads of its own, even after its end. A wait that signals interrupt, such
// as that of SO_LINGER, ends after `patience`. Any thread.
class SocketCloser {
 public:
  static constexpr int kMaxThreads = 4;
  // Backlog limit; beyond it, no new socket may be opened, as each would have to be closed.
  static constexpr size_t kMaxWaiting = 256;

  explicit SocketCloser(absl::Duration patience = absl::Milliseconds(10));

  // Shuts the socket down and closes it soon. No epoll instance may watch it any more, which would
  // hold a reference while it looks.
  void Close(UniqueFd socket);
  size_t waiting() const { return threads_.waiting(); }
  bool full() const { return waiting() >= kMaxWaiting; }

 private:
  const absl::Duration patience_;
  DetachedThreads threads_;
};

// A connected stream socket, or none, which reads from a peer that nobody trusts. For one thread.
class ReceivingSocket {
 public:
  ReceivingSocket() = default;
  // `closer` outlives it.
  ReceivingSocket(UniqueFd socket, SocketCloser* closer);
  ReceivingSocket(ReceivingSocket&&) noexcept = default;
  ReceivingSocket& operator=(ReceivingSocket&& other) noexcept {
    std::swap(socket_, other.socket_);
    std::swap(closer_, other.closer_);
    return *this;
  }
  ~ReceivingSocket() { Reset(); }

  int get() const { return socket_.get(); }
  bool valid() const { return socket_.valid(); }
  void Reset();
  // Passes the descriptor to the caller. Closing it may block while others have the socket open.
  UniqueFd Release() { return std::move(socket_); }

  // recv(2), which does not wait. EBADMSG: the peer passes descriptors, and nothing more can be
  // read. Sets `*sender`, on a socket with SO_PASSCRED, if the sender is known.
  ssize_t Receive(char* to, size_t size, ucred* sender = nullptr);

 private:
  UniqueFd socket_;
  SocketCloser* closer_ = nullptr;  // null: it cannot hold descriptors
};

}  // namespace vmeventd
