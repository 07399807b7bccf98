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

// What ends the wait for the next frame.
enum class TopWake { kDue, kQuit, kRedraw, kByTime, kByVm, kByClass };

struct TopEnvironment {
  bool live = false;  // draws until it is to quit; otherwise once
  std::function<TopStyle()> style;
  // Waits for so long at most. A key or another size of the terminal draws the same data again.
  std::function<TopWake(absl::Duration)> wait;
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
