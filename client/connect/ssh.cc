#include "client/connect/ssh.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/errno_status.h"

namespace vmeventd::client {

// The other end of the socket is the standard input and output of `ssh HOST vmevents proxy`, whose
// errors are the user's to read. It ends once the socket is closed, as a child of init.
absl::StatusOr<UniqueFd> StartSsh(const ServerAddress& address) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return absl::UnavailableError(absl::StrCat("ssh: ", ErrnoText(errno)));
  }
  UniqueFd own(ends[0]);
  const UniqueFd others(ends[1]);
  std::vector<std::string> words = {"ssh", "-T"};
  if (!address.port.empty()) words.insert(words.end(), {"-p", address.port});
  words.insert(words.end(), {"--", address.ssh, "vmevents", "proxy"});
  std::vector<char*> arguments;
  arguments.reserve(words.size() + 1);
  for (std::string& word : words) arguments.push_back(word.data());
  arguments.push_back(nullptr);
  const pid_t child = fork();
  if (child < 0) return absl::UnavailableError(absl::StrCat("ssh: ", ErrnoText(errno)));
  if (child == 0) {
    if (fork() != 0) _exit(0);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    signal(SIGPIPE, SIG_DFL);
    dup2(others.get(), STDIN_FILENO);
    dup2(others.get(), STDOUT_FILENO);
    execvp("ssh", arguments.data());
    constexpr char kMissing[] = "vmevents: there is no program ssh\n";
    (void)!write(STDERR_FILENO, kMissing, sizeof(kMissing) - 1);
    _exit(127);
  }
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  fcntl(own.get(), F_SETFL, fcntl(own.get(), F_GETFL) | O_NONBLOCK);
  return own;
}

}  // namespace vmeventd::client
