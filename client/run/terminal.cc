#include "client/run/terminal.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <iterator>
#include <string_view>
#include <thread>

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

namespace {

// The alternate screen, and no cursor.
constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l";
constexpr std::string_view kLeave = "\x1b[?25h\x1b[?1049l";

}  // namespace

LiveScreen::LiveScreen() {
  if (tcgetattr(STDIN_FILENO, &before_) == 0) {
    termios mode = before_;
    mode.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    mode.c_cc[VSUSP] = _POSIX_VDISABLE;  // a shell would not know of the alternate screen
    changed_ = tcsetattr(STDIN_FILENO, TCSADRAIN, &mode) == 0;
  }
  (void)!write(STDOUT_FILENO, kEnter.data(), kEnter.size());
}

LiveScreen::~LiveScreen() {
  // A terminal that has gone needs nothing.
  if (changed_) tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
  (void)!write(STDOUT_FILENO, kLeave.data(), kLeave.size());
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
