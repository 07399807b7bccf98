#pragma once

#include "absl/time/time.h"
#include "base/clock.h"
#include "base/rare.h"

namespace vmeventd {

// The wait for the exit of a QEMU that was asked to end, or whose guest is down. Saved, except
// `report_after`: a late exit is reported again after the daemon's restart. Pure; times are
// monotonic.
struct ExitWait {
  // Time after SHUTDOWN from which a QEMU that is still alive, without a STOP, has a guest that is
  // down.
  static constexpr absl::Duration kDownGrace = absl::Seconds(5);
  // Duration of QEMU's exit from which it is a problem. It is reported again each time it has
  // doubled.
  static constexpr absl::Duration kFirstReport = absl::Seconds(10);

  Rare<Instant> since;  // time from which QEMU is expected to exit; unset: it is not
  absl::Duration report_after = kFirstReport;  // delay after `since` until the next report

  bool expected() const { return since.has_value(); }
  // Expects QEMU to exit from now on, if it did not before.
  void Begin(Instant now) {
    if (expected()) return;
    since = now;
    report_after = kFirstReport;
  }
  void Forget() { since.reset(); }

  // Time at which a late exit is reported next; InfiniteDuration: none is expected.
  absl::Duration ReportAt() const {
    return expected() ? since->monotonic + report_after : absl::InfiniteDuration();
  }
  bool IsLate(absl::Duration now) const { return now >= ReportAt(); }
  // Returns how long QEMU was waited for, for the report of a late exit.
  absl::Duration TakeReport(absl::Duration now) {
    const absl::Duration waited = now - since->monotonic;
    while (report_after <= waited) report_after *= 2;
    return waited;
  }
  // Time from which a guest that is down is reported, because its QEMU has not ended;
  // InfiniteDuration: none is expected to.
  absl::Duration DownAt() const {
    return expected() ? since->monotonic + kDownGrace : absl::InfiniteDuration();
  }
};

}  // namespace vmeventd
