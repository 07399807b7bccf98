#pragma once

#include <string>

namespace vmeventd::client {

// The exit codes of `vmevents`. Scripts rely on the numbers.
enum class ExitCode {
  kOk = 0,
  kFailed = 1,
  kUsage = 2,
  kNotFound = 3,
  kUnreachable = 4,
  kGone = 5,           // `push`: the receiver answered 410
  kInterrupted = 130,  // `watch --count N`, interrupted before N events arrived
};

// The end of a failed command: the exit code, and one sentence for stderr, safe for a terminal.
struct Failure {
  ExitCode code = ExitCode::kFailed;
  std::string sentence;
  bool some_answered = false;  // several daemons were asked, and one at least answered
};

}  // namespace vmeventd::client
