#include "client/terminal/pager.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace vmeventd::client {
namespace {

// Ends at once if all fits the screen, passes colours on, cuts long lines, leaves the screen as it
// is, and ends with Ctrl-C.
constexpr char kLess[] = "less -FRSXMK";

}  // namespace

std::string ChoosePager(const std::optional<std::string>& own,
                        const std::optional<std::string>& common,
                        const std::function<bool(const std::string&)>& in_path) {
  const std::optional<std::string>& chosen = own ? own : common;
  if (!chosen) return in_path("less") ? kLess : "";
  const absl::string_view command = absl::StripAsciiWhitespace(*chosen);
  return command == "cat" ? "" : std::string(command);
}

bool IsInPath(const std::string& program) {
  const char* path = getenv("PATH");
  if (path == nullptr) return false;
  for (const absl::string_view directory : absl::StrSplit(path, ':', absl::SkipEmpty())) {
    if (access(absl::StrCat(directory, "/", program).c_str(), X_OK) == 0) return true;
  }
  return false;
}

TerminalSize SizeOfTerminal(int descriptor) {
  winsize size{};
  if (isatty(descriptor) == 0 || ioctl(descriptor, TIOCGWINSZ, &size) != 0) return {};
  return {size.ws_col, size.ws_row};
}

std::unique_ptr<Pager> Pager::Start(const std::string& command) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return nullptr;
  const UniqueFd output(ends[0]);
  UniqueFd input(ends[1]);
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, output.get(), STDIN_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t defaults;
  sigemptyset(&defaults);
  for (const int one : {SIGPIPE, SIGINT}) sigaddset(&defaults, one);  // vmevents ignores them
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
  // Pagers that show colours only if asked to, as git(1) asks them.
  setenv("LESS", "FRX", 0);
  setenv("LV", "-c", 0);
  std::string shell = "/bin/sh";
  std::string option = "-c";
  std::string line = command;
  char* const arguments[] = {shell.data(), option.data(), line.data(), nullptr};
  pid_t pid = 0;
  const int error = posix_spawn(&pid, shell.c_str(), &files, &attributes, arguments, environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return nullptr;
  return absl::WrapUnique(new Pager(std::move(input), pid));
}

// Ctrl-C is for the pager: one that ends over it is seen by the next write.
Pager::Pager(UniqueFd input, pid_t pid)
    : input_(std::move(input)), pid_(pid), interrupt_(signal(SIGINT, SIG_IGN)) {}

Pager::~Pager() { static_cast<void>(Wait()); }

bool Pager::Wait() {
  if (pid_ == 0) return true;
  input_.Reset();
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
  signal(SIGINT, interrupt_);
  // So ends a shell that cannot run its command.
  return !WIFEXITED(status) || (WEXITSTATUS(status) != 126 && WEXITSTATUS(status) != 127);
}

}  // namespace vmeventd::client
