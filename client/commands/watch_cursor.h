#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
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
// It relies on the contract: the sequences of one journal increase on a stream; Progress opens
// every stream, names the journal, and says up to which sequence everything was sent. A snapshot
// counts once it is complete; until then it is requested again. The position never passes an event
// that is not durable: the next stream begins before that event, and shows only what is new: an
// event in the place of a lost one, or the GAP that reports the loss.
class WatchCursor {
 public:
  // The most events after the position that are remembered as shown, 16 bytes each. Beyond it the
  // position passes the oldest. vmeventd itself keeps fewer events while its journal fails.
  static constexpr size_t kMostHeld = 500'000;
  // Limit of streams from one position that check whether an event became durable.
  static constexpr int kMostReadings = 5;

  // A FromSequence must have its journal_id.
  explicit WatchCursor(WatchStart start);

  // Fills in `start` and `journal_id` of the next stream's request.
  void FillRequest(v1::WatchEventsRequest* request) const;

  // A new stream begins, with the request of FillRequest().
  void OnStreamBegin();

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

  // True if this stream sent an event that is not durable: the position stays before it.
  bool held() const { return held_at_.has_value(); }
  // True if this stream then sent a durable event. The journal writes its backlog first, so a new
  // stream from the position shows what became of the held event.
  bool can_read_again() const { return durable_after_held_; }
  // The caller ends this stream and reads again from the position. False: it did so kMostReadings
  // times and the same event is still not durable; it never will be, and the position has passed
  // it.
  bool ReadAgain();

  // The last sequence known to be complete and durable, in the journal that it belongs to; none
  // before the first Progress.
  const std::optional<WatchPosition>& position() const { return position_; }

 private:
  // An event after the position that was shown.
  struct Shown {
    uint64_t sequence;
    uint64_t fingerprint;  // covers all but `durable`
  };

  bool AwaitsSnapshot() const;
  bool NoteShown(const v1::Event& event);
  void Move(uint64_t sequence);
  void Forget();

  WatchStart start_;
  std::optional<WatchPosition> position_;
  std::optional<uint64_t> last_event_;  // sequence in the position's journal
  std::deque<Shown> shown_;             // ordered by sequence; all after the position
  std::optional<uint64_t> held_at_;     // this stream's: just before what is not durable
  bool durable_after_held_ = false;     // this stream's
  int readings_ = 0;                    // readings from the position, without progress
};

}  // namespace vmeventd::client
