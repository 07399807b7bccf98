#include "base/receiving_socket.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <ctime>
#include <memory>
#include <utility>

#include "base/thread_name.h"

namespace vmeventd {
namespace {

constexpr int kSoPassRights = 83;      // SO_PASSRIGHTS of Linux 6.16
constexpr size_t kMaxLook = 16 << 10;  // bytes looked at in one call
constexpr int kInterrupt = SIGURG;     // ignored by default, so that a stray one does no harm

// The kernel discards a signal without a handler.
void TakeInterruptsAlone() {
  SetThreadName("socket-closer");
  struct sigaction action {};
  action.sa_handler = [](int) {};
  action.sa_flags = SA_RESTART;
  sigaction(kInterrupt, &action, nullptr);
  sigset_t signals;
  sigfillset(&signals);
  sigdelset(&signals, kInterrupt);
  pthread_sigmask(SIG_SETMASK, &signals, nullptr);
}

void CloseWithin(absl::Duration patience, UniqueFd* socket) {
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = kInterrupt;
  event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
  timer_t timer{};
  const bool made = timer_create(CLOCK_MONOTONIC, &event, &timer) == 0;
  // Again and again: one that comes before the wait interrupts nothing.
  const itimerspec every{absl::ToTimespec(patience), absl::ToTimespec(patience)};
  if (made) timer_settime(timer, 0, &every, nullptr);
  socket->Reset();
  if (made) timer_delete(timer);
}

// The kernel may pass descriptors on the socket.
bool MayHold(int fd) {
  int family = AF_UNIX;
  int passes = 1;
  socklen_t size = sizeof(int);
  getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size);
  getsockopt(fd, SOL_SOCKET, kSoPassRights, &passes, &size);
  return family == AF_UNIX && passes != 0;
}

}  // namespace

void RefusePassedDescriptors(int fd) {
  const int off = 0;
  setsockopt(fd, SOL_SOCKET, kSoPassRights, &off, sizeof(off));
}

SocketCloser::SocketCloser(absl::Duration patience)
    : patience_(patience), threads_(kMaxThreads, TakeInterruptsAlone) {}

void SocketCloser::Close(UniqueFd socket) {
  shutdown(socket.get(), SHUT_RDWR);  // the peer learns of it now
  // A function's captures must be copyable.
  threads_.Run([held = std::make_shared<UniqueFd>(std::move(socket)), patience = patience_] {
    CloseWithin(patience, held.get());
  });
}

ReceivingSocket::ReceivingSocket(UniqueFd socket, SocketCloser* closer)
    : socket_(std::move(socket)) {
  if (!MayHold(get())) return;
  closer_ = closer;
  // Out of line, a read would skip the byte, and drop what came with it.
  const int on = 1;
  setsockopt(get(), SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
}

void ReceivingSocket::Reset() {
  if (closer_ != nullptr && socket_.valid()) closer_->Close(std::move(socket_));
  socket_.Reset();
}

// `to` is written through the iovec.
// NOLINTNEXTLINE(readability-non-const-parameter)
ssize_t ReceivingSocket::Receive(char* to, size_t size, ucred* sender) {
  // Room for the sender alone.
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(ucred))> control;
  iovec data{to, size};
  msghdr message{};
  const auto receive = [&](int flags) {
    message = {};
    message.msg_iov = &data;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = sender == nullptr ? 0 : control.size();
    return recvmsg(get(), &message, flags | MSG_DONTWAIT);
  };
  if (closer_ != nullptr) {
    // A look takes references of its own, and drops none that is the last. It leaves what it sees
    // elsewhere: `to` gets only what is taken from the socket.
    std::array<char, kMaxLook> look;
    data = {look.data(), std::min(size, look.size())};
    const ssize_t seen = receive(MSG_PEEK);
    if (seen <= 0) return seen;
    if ((message.msg_flags & MSG_CTRUNC) != 0) {
      errno = EBADMSG;
      return -1;
    }
    data = {to, static_cast<size_t>(seen)};
  }
  const ssize_t got = receive(0);
  const cmsghdr* const header = got > 0 ? CMSG_FIRSTHDR(&message) : nullptr;
  if (header == nullptr || header->cmsg_level != SOL_SOCKET ||
      header->cmsg_type != SCM_CREDENTIALS) {
    return got;
  }
  ucred credentials{};
  std::memcpy(&credentials, CMSG_DATA(header), sizeof(credentials));
  if (credentials.pid > 0) *sender = credentials;
  return got;
}

}  // namespace vmeventd
