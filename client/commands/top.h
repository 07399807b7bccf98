#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/commands/commands.h"
#include "client/output/node_event.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// The facts that `vmevents top` shows of one node at one time.
struct TopData {
  absl::Time now;
  v1::GetServerInfoResponse info;
  std::map<v1::VmState, int> states;  // number of VMs in each state
  int with_problems = 0;
  int with_intents = 0;
  absl::Duration window;       // the ends of so long are counted
  NodeEvents ends;             // STOPPED events of the window, the newest first
  bool more_ends = false;      // more ends exist than were read
  absl::Duration answer_time;  // duration of one request to the server
  std::string health;          // "SERVING", or what does not serve; empty: not asked
  std::string failure;         // reason why this is no longer current; empty: it is
};

// The order of the ends: the newest first, or by name or class and then the newest first.
enum class TopSort { kTime, kVm, kClass };

struct TopStyle {
  bool color = false;
  absl::TimeZone zone;
  size_t width = 80;
  size_t height = 24;
  TopSort sort = TopSort::kTime;
  bool keys = false;  // the last line names the keys
};

// A screen of at most `height` lines of at most `width` columns. Pure.
std::string TopFrame(const TopData& data, const TopStyle& style);

// The longest time from QEMU's report of an end to its event; none: no end has a time of QEMU.
std::optional<absl::Duration> LongestLag(const NodeEvents& ends);

struct TopCommand {
  absl::Duration interval = absl::Seconds(2);
  absl::Duration window = absl::Minutes(15);
  bool once = false;  // one frame, with the daemon's health
};

struct TopEnvironment {
  bool live = false;  // draws until it is to quit; otherwise once
  std::function<TopStyle()> style;
  // Waits for so long at most; returns the key that ended the wait, or 0. Any key draws the same
  // data again: t, v and c in another order; q ends it.
  std::function<char(absl::Duration)> wait;
  std::function<absl::Time()> now = absl::Now;
};

// Draws frames. A server that fails later is shown in the frame, and asked again.
std::optional<Failure> RunTop(const TopCommand& command, const CommandContext& context,
                              const TopEnvironment& environment);

}  // namespace vmeventd::client
