#include "server/host/signal_watcher.h"

#include <pthread.h>
#include <unistd.h>

#include <csignal>

#include "base/thread_name.h"

namespace vmeventd {
namespace {

sigset_t WatchedSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGHUP);
  return signals;
}

}  // namespace

void BlockSignals() {
  const sigset_t signals = WatchedSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
}

SignalWatcher::SignalWatcher(std::function<void()> stop, std::function<void()> reload)
    : stop_(std::move(stop)), reload_(std::move(reload)), thread_([this] { Run(); }) {}

SignalWatcher::~SignalWatcher() {
  done_ = true;
  pthread_kill(thread_.native_handle(), SIGHUP);
  thread_.join();
}

void SignalWatcher::Run() {
  SetThreadName("signals");
  const sigset_t signals = WatchedSignals();
  for (bool stopping = false;;) {
    int number = 0;
    sigwait(&signals, &number);
    if (done_) return;
    if (number == SIGHUP) {
      reload_();
      continue;
    }
    if (stopping) _exit(1);
    stopping = true;
    stop_();
  }
}

}  // namespace vmeventd
