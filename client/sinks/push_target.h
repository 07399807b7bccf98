#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace vmeventd::client {

struct PushSinkKind;

// Destination of the events. The path and the query of its URL may be a secret, as with Slack.
struct PushTarget {
  const PushSinkKind* kind = nullptr;
  std::vector<std::string> urls;  // one; or the servers of a fleet
  std::string shown;  // "https://hooks.example", safe for a terminal and without the secret
  std::string key;    // the name of its state directory, from TargetKey()
};

// Returns the name of a push's state directory: the host, which must not contain a slash, and a
// hash of the URL.
std::string TargetKey(const std::string& host, absl::string_view url);
// The error for a target that would receive the events unencrypted; `scheme` is the one to use
// instead.
absl::Status PlainTextError(absl::string_view target, absl::string_view scheme);

}  // namespace vmeventd::client
