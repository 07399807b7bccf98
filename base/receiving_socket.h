#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>
#include <utility>

#include "base/socket_closer.h"
#include "base/unique_fd.h"

// Protects a thread from the descriptors that the peer of a Unix socket passes to it (SCM_RIGHTS).
// The thread that drops the last reference to such a descriptor is blocked by its close: for a TCP
// socket with SO_LINGER, as long as the peer chose. A read that meets it drops it, and so does the
// close of the socket whose queue it is in. Linux 6.16 can refuse such descriptors. On older
// kernels, a socket is checked before each read, and closed on a thread that nobody waits for.

namespace vmeventd {

// A connected stream socket, or none, for reading from an untrusted peer. For one thread.
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

  // recv(2) that does not block. EBADMSG: the peer passes descriptors; nothing more can be read.
  // Sets `*sender`, on a socket with SO_PASSCRED, if the sender is known.
  ssize_t Receive(char* to, size_t size, ucred* sender = nullptr);

 private:
  UniqueFd socket_;
  SocketCloser* closer_ = nullptr;  // null: no descriptors can be in its queue
};

}  // namespace vmeventd
