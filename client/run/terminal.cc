#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <thread>

#include "client/run/run.h"

namespace vmeventd::client {

void PrintNote(const std::string& sentence) {
  std::cerr << "vmevents: " + sentence + "\n" << std::flush;
}

ExitCode Fail(const Failure& failure) {
  PrintNote(failure.sentence);
  return failure.code;
}

ExitCode Fail(const absl::Status& status) {
  return Fail(Failure{ExitCode::kFailed, std::string(status.message())});
}

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
    const int signals = signalfd(-1, &set, SFD_CLOEXEC);
    // Requests no event for the output: poll() then reports only that its reader has gone.
    pollfd watched[] = {{signals, POLLIN, 0}, {output, 0, 0}, {keys, POLLIN, 0}};
    char key = 0;
    while (watched[0].revents == 0 && watched[1].revents == 0 && key != 'q' && key != 'Q') {
      if (poll(watched, std::size(watched), -1) < 0) continue;
      const bool typed = watched[2].revents != 0;
      if (typed && read(keys, &key, 1) != 1) watched[2].fd = -1;  // the terminal has gone
    }
    signalfd_siginfo taken;
    if (watched[0].revents != 0) (void)!read(signals, &taken, sizeof(taken));
    stop->Stop();
    // This thread takes the signals with their default action from here on.
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
    while (true) pause();
  }).detach();
  return *stop;
}

FILE* StartPager() {
  // less ends at once if all fits the screen, passes colours on, cuts long lines, leaves the screen
  // as it is, and ends with Ctrl-C.
  constexpr char kCommand[] =
      "export LESS=\"${LESS-FRSXMK}\"; pager=${VMEVENTS_PAGER-${PAGER-$(command -v less)}}; "
      "trap : INT; eval \"${pager:-cat}\"";
  // The pager shall not ignore SIGPIPE, as vmevents does.
  const auto ignored = signal(SIGPIPE, SIG_DFL);
  FILE* const pager = popen(kCommand, "we");
  signal(SIGPIPE, ignored);
  // Ctrl-C is for the pager: one that ends over it is seen by the next write.
  if (pager != nullptr) signal(SIGINT, SIG_IGN);
  return pager;
}

}  // namespace vmeventd::client
