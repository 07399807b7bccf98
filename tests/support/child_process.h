#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"

namespace vmeventd::e2e {

struct ChildOptions {
  std::vector<std::string> arguments;    // the program first, with its path or looked up in $PATH
  std::vector<std::string> environment;  // "NAME=value", in addition to the test's own
  std::string error_file;                // file for its standard error; empty: goes to its output
  std::optional<unsigned> max_descriptors;  // RLIMIT_NOFILE, soft and hard
  std::optional<int> descriptor;  // a descriptor of the test that becomes its descriptor 3
  bool dumps_core = false;
};

// A program that a test runs. It dies with the test, no matter how the test ends.
class ChildProcess {
 public:
  explicit ChildProcess(const ChildOptions& options);
  ~ChildProcess();  // kills and reaps it
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  void Write(std::string_view input);
  // Reads until the output, after the part that earlier calls returned, contains `text`; returns
  // everything up to and with `text`.
  std::string ReadUntil(std::string_view text);
  void Signal(int signal);

  bool has_exited();
  // Waits until the program ends, and returns the wait status.
  int Wait();

 private:
  pid_t pid_ = -1;
  UniqueFd input_;
  UniqueFd output_;
  std::string unread_;
  std::optional<int> status_;
};

struct CommandResult {
  int exit_code = -1;  // -1: ended by a signal
  std::string output;
  std::string error;
};

// Runs a program to its end.
CommandResult RunCommand(ChildOptions options);

}  // namespace vmeventd::e2e
