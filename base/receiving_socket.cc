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

#include "absl/time/time.h"
#include "base/system.h"

namespace vmeventd {
namespace {

#ifdef SO_PASSRIGHTS
constexpr int kSoPassRights = SO_PASSRIGHTS;
#else
constexpr int kSoPassRights = 83;  // Linux 6.16
#endif

// Limit of bytes looked at in one call.
constexpr size_t kMaxLook = 16 << 10;

// Ignored by default, so that a stray one does no harm.
constexpr int kInterrupt = SIGURG;

int Option(int fd, int name, int otherwise) {
  int value = 0;
  socklen_t size = sizeof(value);
  return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : otherwise;
}

// Sends kInterrupt to its thread every `patience` while it is set.
class Interrupter {
 public:
  explicit Interrupter(absl::Duration patience) : every_(absl::ToTimespec(patience)) {
    // The signal needs a handler: otherwise the kernel discards it.
    struct sigaction action {};
    action.sa_handler = [](int) {};
    action.sa_flags = SA_RESTART;
    sigaction(kInterrupt, &action, nullptr);
    sigset_t signals;
    sigfillset(&signals);
    sigdelset(&signals, kInterrupt);
    pthread_sigmask(SIG_SETMASK, &signals, nullptr);
    sigevent event{};
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = kInterrupt;
    event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
    made_ = timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0;
  }
  ~Interrupter() {
    if (made_) timer_delete(timer_);
  }
  Interrupter(const Interrupter&) = delete;
  Interrupter& operator=(const Interrupter&) = delete;

  void Set(bool on) {
    const itimerspec spec = on ? itimerspec{every_, every_} : itimerspec{};
    if (made_) timer_settime(timer_, 0, &spec, nullptr);
  }

 private:
  const timespec every_;
  timer_t timer_{};
  bool made_ = false;
};

}  // namespace

void RefusePassedDescriptors(int fd) {
  const int off = 0;
  setsockopt(fd, SOL_SOCKET, kSoPassRights, &off, sizeof(off));
}

SocketCloser::SocketCloser(absl::Duration patience)
    : patience_(patience), threads_(kMaxThreads, [] { SetThreadName("socket-closer"); }) {}

void SocketCloser::Close(UniqueFd socket) {
  shutdown(socket.get(), SHUT_RDWR);  // the peer learns of it now
  // A function's captures must be copyable.
  threads_.Run([held = std::make_shared<UniqueFd>(std::move(socket)), patience = patience_] {
    thread_local Interrupter interrupter(patience);
    interrupter.Set(true);
    held->Reset();
    interrupter.Set(false);
  });
}

ReceivingSocket::ReceivingSocket(UniqueFd socket, SocketCloser* closer)
    : socket_(std::move(socket)) {
  if (Option(get(), SO_DOMAIN, AF_UNIX) != AF_UNIX || Option(get(), kSoPassRights, 1) == 0) return;
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
  const auto receive = [&](msghdr* message, int flags) {
    *message = {};
    message->msg_iov = &data;
    message->msg_iovlen = 1;
    if (sender != nullptr) {
      message->msg_control = control.data();
      message->msg_controllen = control.size();
    }
    return recvmsg(get(), message, flags | MSG_DONTWAIT);
  };
  msghdr message;
  if (closer_ != nullptr) {
    // A look takes references of its own, and drops none that is the last. It leaves what it sees
    // elsewhere: `to` gets only what is taken from the socket.
    std::array<char, kMaxLook> look;
    data = {look.data(), std::min(size, look.size())};
    const ssize_t seen = receive(&message, MSG_PEEK);
    if (seen <= 0) return seen;
    if ((message.msg_flags & MSG_CTRUNC) != 0) {
      errno = EBADMSG;
      return -1;
    }
    data = {to, static_cast<size_t>(seen)};
  }
  const ssize_t got = receive(&message, 0);
  if (got <= 0 || sender == nullptr) return got;
  const cmsghdr* const header = CMSG_FIRSTHDR(&message);
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
