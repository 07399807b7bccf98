#ifndef VMEVENTD_CLIENT_PUSH_TARGET_H_
#define VMEVENTD_CLIENT_PUSH_TARGET_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/push/format.h"

namespace vmeventd::client {

// Where events are POSTed. Its path and query may be a secret, as Slack's are.
struct PushTarget {
  std::string url;
  std::string shown;  // "https://hooks.example", safe for a terminal and without the secret
  std::string key;    // the name of its state directory: the host, and a hash of the URL
};

// Parses and checks the URL. An Alertmanager's that has no path gets that of its API. Plain HTTP is
// for loopback, or with `insecure`. INVALID_ARGUMENT says what is wrong, without the path. Pure.
absl::StatusOr<PushTarget> ParsePushTarget(absl::string_view url, PushFormat format, bool insecure);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_PUSH_TARGET_H_
