#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "absl/time/time.h"
#include "server/events/vm_snapshot.h"

namespace vmeventd {

// The start of a stream, as a client requests it.
struct FromNow {};
struct FromSnapshot {
  bool stopped = false;  // also the VMs that have stopped
};
struct AfterSequence {
  uint64_t sequence = 0;
  std::string journal_id;
};
struct Since {
  absl::Time time;  // InfinitePast: the oldest event
};
using WatchStart = std::variant<FromNow, FromSnapshot, AfterSequence, Since>;

// The start of a stream, as the log finds it: the stream sends what comes after `cursor`.
struct StreamBegin {
  uint64_t cursor = 0;
  // Time at which the stream begins, after `cursor`: the journal must find the sequence, and
  // earlier events are skipped. Unset: the stream begins after `cursor`. InfinitePast: at the
  // oldest event.
  std::optional<absl::Time> locate;
  VmSnapshotPtr snapshot;     // the VMs at `cursor`, if requested
  bool with_stopped = false;  // the snapshot's stopped VMs are wanted too
};

}  // namespace vmeventd
