#include "base/socket_closer.h"

#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <csignal>
#include <ctime>
#include <memory>
#include <utility>

#include "base/thread_name.h"

namespace vmeventd {
namespace {

constexpr int kInterrupt = SIGURG;  // ignored by default, so that a stray one does no harm

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
  // Signals repeatedly: a signal that arrives before the wait interrupts nothing.
  const itimerspec every{absl::ToTimespec(patience), absl::ToTimespec(patience)};
  if (made) timer_settime(timer, 0, &every, nullptr);
  socket->Reset();
  if (made) timer_delete(timer);
}

}  // namespace

SocketCloser::SocketCloser(absl::Duration patience)
    : patience_(patience), threads_(kMaxThreads, TakeInterruptsAlone) {}

void SocketCloser::Close(UniqueFd socket) {
  shutdown(socket.get(), SHUT_RDWR);  // the peer learns of it now
  // A function's captures must be copyable.
  threads_.Run([held = std::make_shared<UniqueFd>(std::move(socket)), patience = patience_] {
    CloseWithin(patience, held.get());
  });
}

}  // namespace vmeventd
