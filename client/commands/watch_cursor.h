#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "absl/time/time.h"
#include "client/consume/delivery.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// Start of a watch.
struct FromNow {};
struct FromOldest {};
struct FromSnapshot {};
struct FromTime {
  absl::Time time;
};
// Begins with the first event after the position.
using FromSequence = WatchPosition;
using WatchStart = std::variant<FromNow, FromOldest, FromSnapshot, FromTime, FromSequence>;

// The state machine that continues a watch over any number of streams, with nothing lost or
// repeated: it decides what to request next, given what was received. Pure; one thread.
//
// It relies on the contract: the sequences of one journal increase on a stream, and none is given
// twice; Progress opens every stream, names the journal, and says up to which sequence everything
// was sent, and everything is durable. A snapshot counts once it is complete; until then it is
// requested again. The position never passes what is not durable: the next stream sends that again,
// and it is dropped if it was shown.
class WatchCursor {
 public:
  // A FromSequence must have its journal_id.
  explicit WatchCursor(WatchStart start);

  // Fills in `start` and `journal_id` of the next stream's request.
  void FillRequest(v1::WatchEventsRequest* request) const;

  // An event arrived. False: it was shown before; drop it.
  bool OnEvent(const v1::Event& event);

  // A Progress arrived. False: the server has another journal than the one requested, so events may
  // be missing; the cursor has moved to the new one.
  bool OnProgress(const v1::Progress& progress);

  // The snapshot is complete as of this Progress.
  void OnSnapshotDone(const v1::Progress& progress);

  // The server answered OUT_OF_RANGE: the requested start is gone. Continues from the oldest
  // retained event. False: that was requested already, so there is nothing new to report.
  bool OnOutOfRange();

  // The last sequence known to be complete and durable, in the journal that it belongs to; none
  // before the first Progress.
  const std::optional<WatchPosition>& position() const { return position_; }

 private:
  bool AwaitsSnapshot() const;
  // Everything up to `sequence` has arrived, and everything up to `durable` is durable.
  void Reach(uint64_t sequence, uint64_t durable);

  WatchStart start_;
  std::optional<WatchPosition> position_;
  // In the position's journal:
  uint64_t reached_ = 0;  // everything up to it has arrived
  uint64_t durable_ = 0;  // everything up to it is durable
  uint64_t shown_ = 0;    // the newest event that was shown, or is not wanted
};

}  // namespace vmeventd::client
