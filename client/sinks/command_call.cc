#include "client/sinks/command_call.h"

#include <poll.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <iterator>
#include <map>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "base/signal_name.h"
#include "base/unique_fd.h"
#include "client/output/write_fully.h"

namespace vmeventd::client {
namespace {

absl::Status CannotRun(absl::string_view what, int error) {
  return absl::UnavailableError(absl::StrCat("cannot be run: ", what, ": ", strerror(error)));
}

// A file without a name that holds `content`, read from its start. Unlike a pipe it needs no
// writer while the command runs, and a command that does not read it does no harm.
absl::StatusOr<UniqueFd> FileWith(absl::string_view content) {
  UniqueFd file(memfd_create("vmevents-event", MFD_CLOEXEC));
  if (!file.valid()) return CannotRun("memfd_create", errno);
  const int error = WriteFully(file.get(), content);
  if (error != 0) return CannotRun("the event", error);
  if (lseek(file.get(), 0, SEEK_SET) != 0) return CannotRun("the event", errno);
  return file;
}

// The environment; `variables` replace those with the same names.
std::vector<std::string> Environment(std::map<std::string, std::string> variables) {
  for (char** entry = environ; *entry != nullptr; ++entry) {
    variables.insert(absl::StrSplit(*entry, absl::MaxSplits('=', 1)));
  }
  std::vector<std::string> entries;
  entries.reserve(variables.size());
  for (const auto& [name, value] : variables) entries.push_back(absl::StrCat(name, "=", value));
  return entries;
}

std::vector<char*> Pointers(std::vector<std::string>* texts) {
  std::vector<char*> pointers;
  for (std::string& text : *texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// Waits until `ended` is readable, `event` is readable, or `limit` is over. Returns false only if
// `ended` is readable.
bool WaitForEnd(int ended, int event, absl::Duration limit) {
  pollfd watched[] = {{ended, POLLIN, 0}, {event, POLLIN, 0}};
  const int timeout =
      limit == absl::InfiniteDuration() ? -1 : static_cast<int>(absl::ToInt64Milliseconds(limit));
  while (poll(watched, std::size(watched), timeout) < 0 && errno == EINTR) {
  }
  return (watched[0].revents & POLLIN) == 0;
}

absl::Status Explain(int status) {
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return absl::OkStatus();
  if (WIFSIGNALED(status)) {
    return absl::AbortedError(absl::StrCat("was killed by ", SignalName(WTERMSIG(status))));
  }
  return absl::AbortedError(absl::StrCat("ended with exit code ", WEXITSTATUS(status)));
}

// Starts /bin/sh with the command, in a session of its own: Ctrl-C reaches vmevents alone, which
// then ends all that the shell started; and a command that asks the terminal gets an error, where a
// group in the background would be stopped for ever.
absl::StatusOr<pid_t> SpawnShell(const CommandCall& call, int input) {
  std::vector<std::string> arguments = {"/bin/sh", "-c", call.command};
  std::vector<std::string> environment =
      Environment({call.variables.begin(), call.variables.end()});
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, input, STDIN_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  // vmevents blocks the signals that end it and ignores SIGPIPE; a command expects neither.
  sigset_t set;
  sigemptyset(&set);
  posix_spawnattr_setsigmask(&attributes, &set);
  sigaddset(&set, SIGPIPE);
  posix_spawnattr_setsigdefault(&attributes, &set);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSID);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, "/bin/sh", &files, &attributes, Pointers(&arguments).data(),
                                Pointers(&environment).data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) return CannotRun("/bin/sh", error);
  return pid;
}

}  // namespace

absl::Status RunCommandCall(const CommandCall& call, const std::stop_token& stop,
                            absl::Duration grace) {
  const absl::StatusOr<UniqueFd> input = FileWith(call.input);
  if (!input.ok()) return input.status();
  const UniqueFd stopped(eventfd(0, EFD_CLOEXEC));
  if (!stopped.valid()) return CannotRun("eventfd", errno);
  const absl::StatusOr<pid_t> pid = SpawnShell(call, input->get());
  if (!pid.ok()) return pid.status();
  const UniqueFd ended(static_cast<int>(syscall(SYS_pidfd_open, *pid, 0)));
  const std::stop_callback on_stop(stop, [&stopped] { eventfd_write(stopped.get(), 1); });
  bool was_stopped = false;
  // If no descriptor for the process can be opened, waits for the command; a stop then does not end
  // it.
  if (ended.valid() && WaitForEnd(ended.get(), stopped.get(), absl::InfiniteDuration())) {
    was_stopped = true;
    kill(-*pid, SIGTERM);
    kill(-*pid, SIGCONT);  // a suspended process could not act on it
    // poll() ignores a descriptor of -1.
    if (WaitForEnd(ended.get(), -1, grace)) kill(-*pid, SIGKILL);
  }
  int status = 0;
  while (waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
  }
  absl::Status result = Explain(status);
  if (was_stopped && !result.ok()) return absl::CancelledError("stopped");
  return result;
}

}  // namespace vmeventd::client
