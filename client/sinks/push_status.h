#pragma once

#include <cstddef>
#include <string>

#include "absl/time/time.h"
#include "client/sinks/cursor_file.h"
#include "client/sinks/push_log.h"

// The texts of `push --status`.

namespace vmeventd::client {

// Everything that `--status` shows.
struct PushStatus {
  PushState state;
  std::string name;
  bool running = false;
  CursorFile::Positions positions;
  std::string set_aside_file;
  size_t set_aside_now = 0;  // number of events in that file, and of those to be sent again
};

// The status as one JSON object, without a newline; and as text for people.
std::string StatusJson(const PushStatus& status, absl::Time now);
std::string StatusText(const PushStatus& status, absl::Time now, absl::TimeZone zone);

}  // namespace vmeventd::client
