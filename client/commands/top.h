#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/output/output.h"
#include "client/output/table_style.h"
#include "client/sources/list_source.h"

// `top`, and `status` for people: draws frames with each node's report on itself.

namespace vmeventd::client {

struct TopCommand {
  absl::Duration interval = absl::Seconds(2);
  absl::Duration window = absl::Minutes(15);
  bool once = false;  // one frame, with the health of each node
};

struct TopEnvironment {
  bool live = false;  // draws until the user quits; otherwise once
  // Returns the style of a frame's tables, with a clock, and the number of lines of the screen.
  std::function<std::pair<TableStyle, size_t>()> style;
  std::function<bool(absl::Duration)> wait;  // waits at most this long; true: quit
};

// Draws frames. A server that fails after the first frame is shown in the frame, and asked again.
std::optional<Failure> RunTop(const TopCommand& command, ListSource* source, Output* output,
                              const TopEnvironment& environment);

}  // namespace vmeventd::client
