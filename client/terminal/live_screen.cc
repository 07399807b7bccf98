#include "client/terminal/live_screen.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <iterator>
#include <string_view>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace vmeventd::client {
namespace {

// The alternate screen, and no cursor.
constexpr std::string_view kEnter = "\x1b[?1049h\x1b[?25l";
constexpr std::string_view kLeave = "\x1b[?25h\x1b[?1049l";

}  // namespace

absl::StatusOr<std::unique_ptr<LiveScreen>> LiveScreen::Create(int input, int output) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGWINCH);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  UniqueFd resized(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  UniqueFd stopped(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!resized.valid() || !stopped.valid()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("cannot wait for the terminal: ", strerror(errno)));
  }
  return absl::WrapUnique(new LiveScreen(input, output, std::move(resized), std::move(stopped)));
}

LiveScreen::LiveScreen(int input, int output, UniqueFd resized, UniqueFd stopped)
    : input_(isatty(input) == 1 ? input : -1),
      output_(output),
      resized_(std::move(resized)),
      stopped_(std::move(stopped)) {}

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

int LiveScreen::Wait(absl::Duration duration, const std::stop_token& stop) {
  const std::stop_callback wake(stop, [this] {
    const uint64_t one = 1;
    (void)!write(stopped_.get(), &one, sizeof(one));
  });
  const absl::Time end = absl::Now() + duration;
  while (true) {
    pollfd watched[] = {
        {input_, POLLIN, 0}, {resized_.get(), POLLIN, 0}, {stopped_.get(), POLLIN, 0}};
    const absl::Duration left = std::max(absl::ZeroDuration(), end - absl::Now());
    const timespec timeout = absl::ToTimespec(left);
    const int found = ppoll(watched, std::size(watched), &timeout, nullptr);
    if (found < 0 && errno == EINTR) continue;
    if (found <= 0) return kDue;
    if (watched[2].revents != 0) return kStopped;
    if (watched[1].revents != 0) {
      signalfd_siginfo taken;
      (void)!read(resized_.get(), &taken, sizeof(taken));
      return kResized;
    }
    char key = 0;
    if (read(input_, &key, 1) == 1 && key != 0) return static_cast<unsigned char>(key);
    input_ = -1;  // the terminal has gone
    before_.reset();
  }
}

}  // namespace vmeventd::client
