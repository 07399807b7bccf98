#include "server/signal_watcher.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

namespace vmeventd {
namespace {

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

}  // namespace

void BlockStopSignals() {
  const sigset_t signals = StopSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

SignalWatcher::SignalWatcher(std::function<void()> stop)
    : stop_(std::move(stop)), thread_([this] { Run(); }) {}

SignalWatcher::~SignalWatcher() {
  done_ = true;
  pthread_kill(thread_.native_handle(), SIGTERM);
  thread_.join();
}

void SignalWatcher::Run() {
  const sigset_t signals = StopSignals();
  for (bool first = true;; first = false) {
    int number = 0;
    sigwait(&signals, &number);
    if (done_) return;
    if (!first) _exit(1);
    stop_();
  }
}

}  // namespace vmeventd
