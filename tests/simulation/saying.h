#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/time/time.h"
#include "tests/simulation/kernel.h"
#include "watcher/session/evidence.h"

namespace vmeventd::simulation {

// Something that QEMU, or libvirt about it, reported, or would have reported if anyone had
// listened.
struct Saying {
  enum class Kind {
    kPowerdown,
    kShutdown,  // `text` is the reason
    kStop,
    kResume,
    kReset,
    kPanic,  // `text` is the action, also for kWatchdog
    kWatchdog,
    kHibernate,
    kOther,     // no evidence
    kRunState,  // an answer to query-status, or libvirt's; `text` is the state
    kManager,   // libvirt reports the end
  };
  Kind kind = Kind::kOther;
  std::string text;
  std::optional<bool> guest;  // `guest` of a SHUTDOWN
  ManagerEnd manager = ManagerEnd::kShutdown;
  absl::Duration at;    // monotonic
  int64_t wall_us = 0;  // QEMU's timestamp; 0: an answer, which has none
  // The connection that got it (null: nobody listened), and where it begins and ends in the bytes
  // that were sent on it.
  ConnectionPtr heard_by;
  uint64_t begin = 0;
  uint64_t end = 0;
  int daemon = 0;  // number of the daemon that got it
  // Libvirt reported it before the connection's first list, which may be older or newer.
  bool unsure = false;
  // Time by which it was read; `kept`: whether its effects are certainly in the journal.
  absl::Duration read_by = absl::InfiniteDuration();
  bool kept = false;

  // Return whether it was sent to a daemon, and whether that daemon has read it.
  bool was_sent() const { return heard_by != nullptr && heard_by->of_daemon; }
  bool was_read() const { return was_sent() && heard_by->handed_out >= end; }
  // Returns whether this daemon certainly knows it.
  bool is_known(int to) const { return was_read() && (kept || daemon == to); }
};

// Returns whether it is an end of the VM that QEMU reports.
inline bool IsEnd(const Saying& saying) {
  return saying.kind == Saying::Kind::kShutdown || saying.kind == Saying::Kind::kPanic ||
         saying.kind == Saying::Kind::kWatchdog;
}

}  // namespace vmeventd::simulation
