#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <utility>

#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/sources/list_source.h"

// `top`, and `status` for people: frames with what each node reports of itself.

namespace vmeventd::client {

struct TopCommand {
  absl::Duration interval = absl::Seconds(2);
  absl::Duration window = absl::Minutes(15);
  bool once = false;  // one frame, with the health of each node
};

struct TopEnvironment {
  bool live = false;  // draws until it is to quit; otherwise once
  // Style of a frame's tables, with a clock; and the lines of the screen.
  std::function<std::pair<TableStyle, size_t>()> style;
  std::function<bool(absl::Duration)> wait;  // waits for so long at most; true: it is to quit
};

// Draws frames. A server that fails later is shown in the frame, and asked again.
std::optional<Failure> RunTop(const TopCommand& command, ListSource* source, Output* output,
                              const TopEnvironment& environment);

}  // namespace vmeventd::client
