#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/sinks/push_sink.h"
#include "client/sinks/push_target.h"
#include "client/sinks/watch_sink.h"

namespace vmeventd::client {

// The sinks of `watch` and of `push`, in the order in which the help shows their options. The first
// of each list is the default.
struct SinkTable {
  std::vector<const WatchSinkKind*> of_watch;
  std::vector<const PushSinkKind*> of_push;
};

// The sink that takes such a URL; null: none.
const PushSinkKind* SinkOfUrl(const SinkTable& sinks, absl::string_view url);

// The error for a URL that no sink takes, with those that are taken. `shown` is what the error may
// show of the URL, which may be a secret; it is not escaped. Empty: nothing.
absl::Status UnknownUrlError(const SinkTable& sinks, absl::string_view shown);

// Parses and checks the URL of a push. Its prefix chooses the sink. An unencrypted URL is accepted
// only for loopback, or if `insecure`. INVALID_ARGUMENT names the fault, without the path;
// FAILED_PRECONDITION: libcurl is missing.
absl::StatusOr<PushTarget> ParsePushTarget(const SinkTable& sinks, absl::string_view url,
                                           bool insecure);

}  // namespace vmeventd::client
