#ifndef VMEVENTD_CLIENT_COMMANDS_TOP_H_
#define VMEVENTD_CLIENT_COMMANDS_TOP_H_

#include <functional>
#include <optional>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/commands/commands.h"
#include "client/views/timeline_view.h"
#include "client/views/top_view.h"

// The commands that show a picture on a terminal.

namespace vmeventd::client {

struct TopCommand {
  absl::Duration interval = absl::Seconds(2);
  absl::Duration window = absl::Minutes(15);
};

struct TopEnvironment {
  bool live = false;  // draws until stopped; otherwise once
  std::function<TopStyle()> style;
  // Waits until the next frame; returns whether to stop instead.
  std::function<bool(absl::Duration)> wait;
  std::function<absl::Time()> now = absl::Now;
};

// Draws frames. A server that fails later is shown in the frame, and asked again.
std::optional<Failure> RunTop(const TopCommand& command, const CommandContext& context,
                              const TopEnvironment& environment);

struct TimelineCommand {
  std::string name;
  std::string run_id;  // empty: all runs
  std::optional<absl::Time> since;
};

// The request for a timeline's events, which are `events` of one VM.
EventsCommand EventsOf(const TimelineCommand& command);

// NOT_FOUND's code if there are no events.
std::optional<Failure> RunTimeline(const TimelineCommand& command, const CommandContext& context,
                                   const TimelineStyle& style, absl::Time now);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_COMMANDS_TOP_H_
