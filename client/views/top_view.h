#ifndef VMEVENTD_CLIENT_VIEWS_TOP_VIEW_H_
#define VMEVENTD_CLIENT_VIEWS_TOP_VIEW_H_

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// What `vmevents top` shows of one node at one time.
struct TopData {
  absl::Time now;
  v1::GetServerInfoResponse info;
  std::map<v1::VmState, int> states;  // how many VMs are in each state
  int with_problems = 0;
  int with_intents = 0;
  absl::Duration window;        // the ends of so long are counted
  std::vector<v1::Event> ends;  // STOPPED events of the window, the newest first
  bool more_ends = false;       // there are more of them than were read
  absl::Duration answer_time;   // how long the server took for one request
  std::string failure;          // why all this is no longer current; empty: it is
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

// One screen, at most `height` lines of at most `width` columns. Pure.
std::string TopFrame(const TopData& data, const TopStyle& style);

// The longest time from QEMU's report of an end to its event; none: no end has a time of QEMU.
std::optional<absl::Duration> LongestLag(const std::vector<v1::Event>& ends);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_VIEWS_TOP_VIEW_H_
