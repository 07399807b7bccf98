#ifndef VMEVENTD_CLIENT_WATCH_CURSOR_H_
#define VMEVENTD_CLIENT_WATCH_CURSOR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "absl/time/time.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// Where a watch begins.
struct FromNow {};
struct FromOldest {};
struct FromSnapshot {};
struct FromTime {
  absl::Time time;
};
struct FromSequence {
  uint64_t sequence = 0;   // begins with the first event after it
  std::string journal_id;  // the journal that the sequence belongs to
};
using WatchStart = std::variant<FromNow, FromOldest, FromSnapshot, FromTime, FromSequence>;

// What to ask for next, given what was received: the state machine with which a watch goes on over
// any number of streams, with nothing lost or repeated. Pure; one thread.
//
// It follows the contract's promises: sequences of one journal increase; Progress says up to where
// everything has been sent and in which journal; it opens every stream. A snapshot counts once it
// is complete: until then it is asked for again.
class WatchCursor {
 public:
  // A FromSequence comes with its journal_id.
  explicit WatchCursor(WatchStart start);

  // Fills in `start` and `journal_id` of the next stream's request.
  void FillRequest(v1::WatchEventsRequest* request) const;

  // An event came. False: it had come before, and is to be dropped.
  bool OnEvent(uint64_t sequence);

  // A Progress came. False: the server is in another journal than the one asked for, so that events
  // may be missing; the cursor has moved to the new one.
  bool OnProgress(const v1::Progress& progress);

  // The snapshot is complete as of this Progress.
  void OnSnapshotDone(const v1::Progress& progress);

  // The server answered OUT_OF_RANGE: what was asked for is gone. Continues from the oldest event
  // that there is. False: that was what it had asked for already, so that nothing new is to be
  // said.
  bool OnOutOfRange();

  // The last sequence known to be complete, in the journal that it belongs to; none before the
  // first Progress.
  struct Position {
    uint64_t sequence = 0;
    std::string journal_id;
  };
  const std::optional<Position>& position() const { return position_; }

 private:
  bool AwaitsSnapshot() const;

  WatchStart start_;
  std::optional<Position> position_;
  std::optional<uint64_t> last_event_;  // in the position's journal
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_WATCH_CURSOR_H_
