#pragma once

#include <optional>
#include <string>

#include "absl/time/time.h"
#include "server/eventlog/stream_start.h"

// Input of the stream hub: requests that server/rpc/request_checks.h has checked.

namespace vmeventd {

// A checked WatchEventsRequest, without its filter.
struct WatchRequest {
  WatchStart start;
  std::optional<absl::Duration> progress_interval{};  // unset: the server's default
  bool durable_only = false;
};

// A checked ListStreamsRequest.
struct StreamPage {
  int size = 0;
  std::string after{};  // id of the last stream of the previous page; empty: this is the first page
};

}  // namespace vmeventd
