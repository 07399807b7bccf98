#include "client/run/stop_signals.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <iterator>
#include <thread>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace vmeventd::client {

StopSource& StopBySignals(int output, int keys) {
  static auto* const stop = new StopSource();  // the thread may outlive any other
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction present {};
    // Leaves alone what nohup(1) or a shell without job control ignores.
    const bool ignored = sigaction(signal, nullptr, &present) == 0 && present.sa_handler == SIG_IGN;
    if (!ignored) sigaddset(&set, signal);
  }
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  std::thread([set, output, keys] {
    const int signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    // Requests no event for the output: poll() then reports only that its reader has gone.
    pollfd watched[] = {{signals, POLLIN, 0}, {output, 0, 0}, {keys, POLLIN, 0}};
    char key = 0;
    while (watched[0].revents == 0 && watched[1].revents == 0 && key != 'q' && key != 'Q') {
      if (poll(watched, std::size(watched), -1) < 0) continue;
      const bool typed = watched[2].revents != 0;
      if (typed && read(keys, &key, 1) != 1) watched[2].fd = -1;  // the terminal has gone
    }
    stop->Stop();
    constexpr absl::Duration kTogether = absl::Milliseconds(200);
    // timeout(1) signals the process, and then its group: the second signal is the same one.
    absl::SleepFor(kTogether);
    signalfd_siginfo taken;
    while (read(signals, &taken, sizeof(taken)) == sizeof(taken)) continue;
    // This thread takes the signals with their default action from here on.
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    while (true) pause();
  }).detach();
  return *stop;
}

}  // namespace vmeventd::client
