#include "tests/support/child_process.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <utility>

#include "absl/time/clock.h"
#include "tests/support/fail.h"
#include "tests/support/files.h"
#include "tests/support/temporary_directory.h"
#include "tests/support/wait.h"

namespace vmeventd::e2e {
namespace {

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  pointers.reserve(texts.size() + 1);
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

struct Pipe {
  Pipe() {
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) FailErrno("no pipe");
    read_end = UniqueFd(ends[0]);
    write_end = UniqueFd(ends[1]);
  }
  UniqueFd read_end;
  UniqueFd write_end;
};

void Limit(__rlimit_resource resource, rlim_t value) {
  const rlimit limit{value, value};
  setrlimit(resource, &limit);
}

}  // namespace

ChildProcess::ChildProcess(const ChildOptions& options) {
  std::vector<std::string> environment = options.environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  const std::vector<char*> argv = Pointers(options.arguments);
  const std::vector<char*> envp = Pointers(environment);
  Pipe input;
  Pipe output;
  const pid_t parent = getpid();

  std::signal(SIGPIPE, SIG_IGN);  // a dead child makes Write fail instead of the test program
  pid_ = fork();
  if (pid_ < 0) FailErrno("fork");
  if (pid_ == 0) {  // limited to async-signal-safe calls: the test has threads
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    signal(SIGPIPE, SIG_DFL);
    Limit(RLIMIT_CORE, options.dumps_core ? RLIM_INFINITY : 0);
    if (options.max_descriptors.has_value()) Limit(RLIMIT_NOFILE, *options.max_descriptors);
    int error = output.write_end.get();
    if (!options.error_file.empty()) {
      error = open(options.error_file.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    }
    dup2(input.read_end.get(), STDIN_FILENO);
    dup2(output.write_end.get(), STDOUT_FILENO);
    dup2(error, STDERR_FILENO);
    if (options.descriptor.has_value()) dup2(*options.descriptor, STDERR_FILENO + 1);
    execvpe(argv[0], argv.data(), envp.data());
    _exit(127);
  }
  input_ = std::move(input.write_end);
  output_ = std::move(output.read_end);
}

ChildProcess::~ChildProcess() {
  if (has_exited()) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

void ChildProcess::Write(std::string_view input) {
  while (!input.empty()) {
    const ssize_t written = write(input_.get(), input.data(), input.size());
    if (written < 0) FailErrno("writing to a child");
    input.remove_prefix(static_cast<size_t>(written));
  }
}

std::string ChildProcess::ReadUntil(std::string_view text) {
  const absl::Time began = absl::Now();
  while (true) {
    const size_t at = unread_.find(text);
    if (at != std::string::npos) {
      std::string found = unread_.substr(0, at + text.size());
      unread_.erase(0, found.size());
      return found;
    }
    pollfd readable{output_.get(), POLLIN, 0};
    const auto left = absl::ToInt64Milliseconds(Patience() - (absl::Now() - began));
    std::array<char, 4096> buffer{};
    const ssize_t count = left > 0 && poll(&readable, 1, static_cast<int>(left)) > 0
                              ? read(output_.get(), buffer.data(), buffer.size())
                              : 0;
    if (count <= 0) {
      Fail("a child did not print \"" + std::string(text) + "\" but \"" + unread_ + "\"");
    }
    unread_.append(buffer.data(), static_cast<size_t>(count));
  }
}

void ChildProcess::Signal(int signal) {
  if (kill(pid_, signal) != 0) FailErrno("kill");
}

bool ChildProcess::has_exited() {
  int status = 0;
  if (!status_.has_value() && waitpid(pid_, &status, WNOHANG) == pid_) status_ = status;
  return status_.has_value();
}

int ChildProcess::Wait() {
  WaitUntil("a child has exited", [this] { return has_exited(); });
  return *status_;
}

CommandResult RunCommand(ChildOptions options) {
  const TemporaryDirectory dir;
  options.error_file = dir / "error";
  // Uses a file, so that output of any length fits.
  const std::string output_file = dir / "output";
  options.arguments.insert(options.arguments.begin(),
                           {"/bin/sh", "-c", "exec \"$@\" >\"$0\"", output_file});
  ChildProcess child(options);
  const int status = child.Wait();
  return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, ReadFile(output_file),
          ReadFile(options.error_file)};
}

}  // namespace vmeventd::e2e
