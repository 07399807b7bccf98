#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cstddef>
#include <utility>

#include "absl/time/time.h"
#include "base/detached_threads.h"
#include "base/system.h"

// Protects a thread from the descriptors that the peer of a Unix socket passes to it
// (SCM_RIGHTS). They cannot be ignored: the thread that drops the last reference to one waits for
// whatever its close waits for, a TCP socket with SO_LINGER for as long as the peer chose. The
// reference is dropped by the read that meets it as well as by the close of the socket it is in.
//
// Linux 6.16 and newer refuse them for us (SO_PASSRIGHTS), and the peer's sendmsg fails. Before it,
// a socket is looked at before it is read, a peer that has passed something is read no further, and
// sockets are closed on threads that nobody waits for.

namespace vmeventd {

// Has the kernel refuse descriptors on `fd`, a Unix socket that is not connected yet, and for a
// listening one on all that it accepts. Nothing happens where the kernel cannot.
void RefusePassedDescriptors(int fd);

// Closes descriptors on threads of its own, which may wait for a close as long as it takes, even
// after the closer's end. A wait that signals interrupt, such as that of SO_LINGER, ends after
// `patience`. Any thread.
class SocketCloser {
 public:
  static constexpr int kMaxThreads = 4;
  // Backlog limit; beyond it, no new socket may be opened, as each would have to be closed.
  static constexpr size_t kMaxWaiting = 256;

  explicit SocketCloser(absl::Duration patience = absl::Milliseconds(10));

  // Shuts the socket down and closes it soon. No epoll instance may watch it any more: epoll_wait
  // takes a reference to what it looks at, and would close the file if that became the last.
  void Close(UniqueFd socket);
  // Returns the number of sockets that wait to be closed.
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
  // Asks the kernel whether it refuses descriptors for `socket`. `closer` outlives it.
  ReceivingSocket(UniqueFd socket, SocketCloser* closer);
  ReceivingSocket(ReceivingSocket&& other) noexcept = default;
  ReceivingSocket& operator=(ReceivingSocket&& other) noexcept {
    if (this == &other) return *this;
    Reset();
    socket_ = std::move(other.socket_);
    closer_ = other.closer_;
    return *this;
  }
  ~ReceivingSocket() { Reset(); }

  int get() const { return socket_.get(); }
  bool valid() const { return socket_.valid(); }
  void Reset();
  // Passes the descriptor to the caller. Closing it may block while others have the socket open.
  UniqueFd Release() { return std::move(socket_); }

  // recv(2), which does not wait. EBADMSG: the peer passes descriptors, and nothing more can be
  // read.
  ssize_t Receive(char* to, size_t size) { return Receive(to, size, nullptr); }
  // Receives from a socket with SO_PASSCRED. Sets `*sender` to the sender, if it is known.
  ssize_t ReceiveFrom(char* to, size_t size, ucred* sender) { return Receive(to, size, sender); }

 private:
  ssize_t Receive(char* to, size_t size, ucred* sender);

  UniqueFd socket_;
  SocketCloser* closer_ = nullptr;  // null: it cannot hold descriptors
};

}  // namespace vmeventd
