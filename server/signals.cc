#include "server/signals.h"

#include <pthread.h>
#include <unistd.h>

#include <csignal>
#include <utility>

#include "base/thread_name.h"

namespace vmeventd {
namespace {

sigset_t WatchedSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, number);
  return signals;
}

}  // namespace

void BlockSignals() {
  const sigset_t signals = WatchedSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

SignalThread::SignalThread(std::function<void()> reload, std::function<void()> stop)
    : reload_(std::move(reload)), stop_(std::move(stop)), thread_([this] { Run(); }) {}

SignalThread::~SignalThread() {
  done_ = true;
  pthread_kill(thread_.native_handle(), SIGHUP);
  thread_.join();
}

void SignalThread::Run() {
  SetThreadName("signals");
  const sigset_t signals = WatchedSignals();
  for (bool stopping = false;;) {
    int number = 0;
    sigwait(&signals, &number);
    if (done_) return;
    if (number == SIGHUP) {
      reload_();
    } else if (std::exchange(stopping, true)) {
      _exit(1);
    } else {
      stop_();
    }
  }
}

}  // namespace vmeventd
