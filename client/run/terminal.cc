#include "client/run/terminal.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>
#include <string_view>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace vmeventd::client {

bool HasColor(const CommandLine& line) {
  if (line.color != ColorMode::kAuto) return line.color == ColorMode::kAlways;
  const auto variable = [](const char* name) {
    const char* const value = getenv(name);
    return absl::string_view(value == nullptr ? "" : value);
  };
  return variable("NO_COLOR").empty() && variable("TERM") != "dumb" && isatty(STDOUT_FILENO) == 1;
}

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

namespace {

sigset_t StoppingSignals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction present {};
    // Leaves alone what nohup(1) or a shell without job control ignores.
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
  UniqueFd signals(signalfd(-1, &set, SFD_CLOEXEC));
  UniqueFd done(eventfd(0, EFD_CLOEXEC));
  if (!signals.valid() || !done.valid()) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot wait for signals: ", strerror(errno)));
  }
  return absl::WrapUnique(
      new StopSignals(std::move(signals), std::move(done), output_descriptor, stop));
}

StopSignals::StopSignals(UniqueFd signals, UniqueFd done, int output, StopSource* stop)
    : signals_(std::move(signals)),
      done_(std::move(done)),
      output_(output),
      thread_([this, stop] { Wait(stop); }) {}

StopSignals::~StopSignals() { eventfd_write(done_.get(), 1); }

void StopSignals::Wait(StopSource* stop) const {
  // Requests no event for the output: poll() then reports only that its reader has gone.
  pollfd watched[] = {{signals_.get(), POLLIN, 0}, {done_.get(), POLLIN, 0}, {output_, 0, 0}};
  while (poll(watched, std::size(watched), -1) < 0 && errno == EINTR) {
  }
  if ((watched[1].revents & POLLIN) != 0) return;
  if ((watched[0].revents & POLLIN) != 0) {
    signalfd_siginfo taken;
    (void)!read(signals_.get(), &taken, sizeof(taken));
  }
  stop->Stop();
  // This thread takes the signals with their default action from here on.
  const sigset_t set = StoppingSignals();
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  pollfd last = {done_.get(), POLLIN, 0};
  while (poll(&last, 1, -1) < 0 && errno == EINTR) {
  }
}

namespace {

// The alternate screen, and no cursor.
constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l";
constexpr std::string_view kLeave = "\x1b[?25h\x1b[?1049l";

}  // namespace

LiveScreen::LiveScreen(int input, int output)
    : input_(isatty(input) == 1 ? input : -1),
      output_(output),
      stopped_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

LiveScreen::~LiveScreen() {
  if (before_) tcsetattr(input_, TCSADRAIN, &*before_);
  // A terminal that has gone needs nothing.
  if (entered_) (void)!write(output_, kLeave.data(), kLeave.size());
}

void LiveScreen::Enter() {
  if (std::exchange(entered_, true)) return;
  termios mode{};
  if (input_ >= 0 && tcgetattr(input_, &mode) == 0) {
    before_ = mode;
    mode.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    mode.c_cc[VSUSP] = _POSIX_VDISABLE;  // a shell would not know of the alternate screen
    tcsetattr(input_, TCSADRAIN, &mode);
  }
  (void)!write(output_, kEnter.data(), kEnter.size());
}

bool LiveScreen::Wait(absl::Duration duration, const std::stop_token& stop) {
  const std::stop_callback wake(stop, [this] { eventfd_write(stopped_.get(), 1); });
  const absl::Time end = absl::Now() + duration;
  while (!stop.stop_requested()) {
    pollfd watched[] = {{input_, POLLIN, 0}, {stopped_.get(), POLLIN, 0}};
    const absl::Duration left = std::max(absl::ZeroDuration(), end - absl::Now());
    const timespec timeout = absl::ToTimespec(left);
    const int found = ppoll(watched, std::size(watched), &timeout, nullptr);
    if (found < 0 && errno == EINTR) continue;
    if (found <= 0) return false;
    if (watched[0].revents == 0) continue;  // stopped
    char key = 0;
    if (read(input_, &key, 1) != 1) {
      input_ = -1;  // the terminal has gone
      before_.reset();
    }
    if (key == 'q' || key == 'Q') return true;
  }
  return true;
}

TerminalSize SizeOfTerminal(int descriptor) {
  winsize size{};
  if (isatty(descriptor) == 0 || ioctl(descriptor, TIOCGWINSZ, &size) != 0) return {};
  return {size.ws_col, size.ws_row};
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
