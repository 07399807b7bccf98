#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/commands/commands.h"
#include "client/output/node_event.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// A time during which a VM was in one state.
struct TimelineSpan {
  v1::VmState state = v1::VM_STATE_UNSPECIFIED;
  absl::Time from;
  absl::Time to;
  std::string why;  // the type of the event that began it
};

// A run of a VM.
struct TimelineRun {
  std::string run_id;
  std::vector<TimelineSpan> spans;  // at least one
  bool ended = false;
  v1::ShutdownDetail shutdown;  // valid if `ended`
};

// The runs that the events of one VM report, the oldest first. `now` ends what has not ended. An
// event whose state is unknown changes nothing. Pure.
std::vector<TimelineRun> RunsOf(const NodeEvents& events, absl::Time now);

struct TimelineStyle {
  bool color = false;
  absl::TimeZone zone;
  size_t width = 80;
};

// A bar on one common scale for each run, and its states with their durations; then a key to the
// bars. `runs` is not empty. Pure.
std::string TimelineText(const std::string& name, const std::vector<TimelineRun>& runs,
                         const TimelineStyle& style);

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
