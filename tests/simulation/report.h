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
struct Report {
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
  ConnectionPtr received_on;
  uint64_t begin = 0;
  uint64_t end = 0;
  int daemon = 0;  // number of the daemon that got it
  // Libvirt reported it before the connection's first list, which may be older or newer.
  bool unsure = false;
  // Time by which it was read; `kept`: whether its effects are certainly in the journal.
  absl::Duration read_by = absl::InfiniteDuration();
  bool kept = false;

  // Return whether it was sent to a daemon, and whether that daemon has read it.
  bool was_sent() const { return received_on != nullptr && received_on->of_daemon; }
  bool was_read() const { return was_sent() && received_on->handed_out >= end; }
  // Returns whether this daemon certainly knows it.
  bool is_known(int to) const { return was_read() && (kept || daemon == to); }
};

// Returns whether it is an end of the VM that QEMU reports.
inline bool IsEnd(const Report& report) {
  return report.kind == Report::Kind::kShutdown || report.kind == Report::Kind::kPanic ||
         report.kind == Report::Kind::kWatchdog;
}

}  // namespace vmeventd::simulation
