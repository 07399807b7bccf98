#ifndef VMEVENTD_SERVER_STREAM_WATCH_REQUEST_H_
#define VMEVENTD_SERVER_STREAM_WATCH_REQUEST_H_

#include <optional>

#include "absl/time/time.h"
#include "server/events/live_state.h"

namespace vmeventd {

// A checked WatchEventsRequest, without its filter.
struct WatchRequest {
  WatchStart start;
  std::optional<absl::Duration> progress_interval;  // unset: the server's default
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_STREAM_WATCH_REQUEST_H_
