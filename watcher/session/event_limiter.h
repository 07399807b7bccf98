#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "base/rare.h"
#include "base/token_bucket.h"
#include "vmeventd/contract/enums.h"

namespace vmeventd {

// Limits the events of one VM, so that a guest that floods loses only its own events: kBurst at
// once, kPerSecond in the long run. At that rate, a journal of a million events lasts a day.
//
// An event on which the VM's state or the verdict on its end may depend can exceed this limit, as a
// debt, within a small reserve: a flood of other events does not hide it. STARTED, STOPPED, intents
// and GAPs are not limited. Pure; times are monotonic.
class EventLimiter {
 public:
  static constexpr int kBurst = 200;
  static constexpr int kPerSecond = 10;
  static constexpr int kReserve = 10;
  // One report covers a flood: it is due once the flood has paused for kQuiet, or has lasted for
  // kMaxFlood.
  static constexpr absl::Duration kQuiet = absl::Seconds(1);
  static constexpr absl::Duration kMaxFlood = absl::Seconds(10);

  // Admits an event, or counts a drop.
  bool Admit(EventType type, absl::Duration now);

  // Number of drops.
  uint64_t dropped() const { return dropped_; }
  // Returns whether there are drops that TakeDrops() has not returned.
  bool has_drops() const { return drops_.has_value(); }
  // Time at which their report is due; InfiniteDuration: there are none.
  absl::Duration ReportAt() const;
  // Returns the number of these drops, for the report.
  uint64_t TakeDrops();

 private:
  // Drops that TakeDrops() has not returned.
  struct Drops {
    uint64_t count = 0;
    absl::Duration first;
    absl::Duration last;
  };

  TokenBucket bucket_{kBurst, kPerSecond};
  TokenBucket reserve_{kReserve, 1};
  uint64_t dropped_ = 0;
  Rare<Drops> drops_;
};

}  // namespace vmeventd
