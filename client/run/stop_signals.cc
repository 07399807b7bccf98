#include "client/run/stop_signals.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace vmeventd::client {
namespace {

sigset_t StoppingSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction present {};
    // What nohup(1) or a shell without job control ignores stays ignored.
    const bool ignored = sigaction(signal, nullptr, &present) == 0 && present.sa_handler == SIG_IGN;
    if (!ignored) sigaddset(&set, signal);
  }
  return set;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StopSignals>> StopSignals::Create(StopSource* stop,
                                                                 int output_descriptor) {
  const sigset_t set = StoppingSignals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  const int signals = signalfd(-1, &set, SFD_CLOEXEC);
  const int done = eventfd(0, EFD_CLOEXEC);
  if (signals < 0 || done < 0) {
    const int error = errno;
    if (signals >= 0) close(signals);
    return absl::ResourceExhaustedError(absl::StrCat("cannot wait for signals: ", strerror(error)));
  }
  return absl::WrapUnique(new StopSignals(signals, done, output_descriptor, stop));
}

StopSignals::StopSignals(int signals, int done, int output, StopSource* stop)
    : signals_(signals), done_(done), output_(output), thread_([this, stop] { Wait(stop); }) {}

StopSignals::~StopSignals() {
  const uint64_t one = 1;
  // An eventfd always accepts its first write.
  (void)!write(done_, &one, sizeof(one));
  thread_.join();
  close(signals_);
  close(done_);
}

void StopSignals::Wait(StopSource* stop) const {
  // Requests no event for the output: poll() then reports only that its reader has gone.
  pollfd watched[] = {{signals_, POLLIN, 0}, {done_, POLLIN, 0}, {output_, 0, 0}};
  while (poll(watched, std::size(watched), -1) < 0 && errno == EINTR) {
  }
  if ((watched[1].revents & POLLIN) != 0) return;
  if ((watched[0].revents & POLLIN) != 0) {
    signalfd_siginfo taken;
    (void)!read(signals_, &taken, sizeof(taken));
  }
  stop->Stop();
  // From here on this thread takes the signals with their default action.
  const sigset_t set = StoppingSignals();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  pollfd last = {done_, POLLIN, 0};
  while (poll(&last, 1, -1) < 0 && errno == EINTR) {
  }
}

}  // namespace vmeventd::client
