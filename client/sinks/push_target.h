#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace vmeventd::client {

struct PushSinkKind;

// Destination of the events. The path and the query of its URL may be a secret, as Slack's are.
struct PushTarget {
  const PushSinkKind* kind = nullptr;
  std::vector<std::string> nats;  // NATS servers of a fleet, instead of `url`
  std::string url;
  std::string shown;  // "https://hooks.example", safe for a terminal and without the secret
  std::string key;    // the name of its state directory: the host, and a hash of the URL
};

// The name of a push's state directory: the host, which has no slash, and a hash of the URL.
std::string TargetKey(const std::string& host, absl::string_view url);
// The error of a target that would get the events unencrypted; `scheme` is the one to write
// instead.
absl::Status PlainTextError(absl::string_view target, absl::string_view scheme);

}  // namespace vmeventd::client
