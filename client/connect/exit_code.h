#ifndef VMEVENTD_CLIENT_CONNECT_EXIT_CODE_H_
#define VMEVENTD_CLIENT_CONNECT_EXIT_CODE_H_

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

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONNECT_EXIT_CODE_H_
