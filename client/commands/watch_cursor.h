#ifndef VMEVENTD_CLIENT_COMMANDS_WATCH_CURSOR_H_
#define VMEVENTD_CLIENT_COMMANDS_WATCH_CURSOR_H_

#include <cstddef>
#include <cstdint>
#include <deque>
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
// It follows the contract's rules: sequences of one journal increase on a stream; Progress says up
// to where everything has been sent and in which journal; it opens every stream. A snapshot counts
// once it is complete: until then it is asked for again. The position does not pass an event that
// is not durable: the next stream begins before it, and of what comes again only what is new is
// shown: an event that took the place of a lost one, or the GAP that says what was lost.
class WatchCursor {
 public:
  // The most events after the position that are remembered as shown, 16 bytes each. Beyond it the
  // position passes the oldest. vmeventd itself keeps fewer for its journal before it gives up.
  static constexpr size_t kMostHeld = 500'000;
  // So many new streams from one position find out whether an event became durable.
  static constexpr int kMostReadings = 5;

  // A FromSequence comes with its journal_id.
  explicit WatchCursor(WatchStart start);

  // Fills in `start` and `journal_id` of the next stream's request.
  void FillRequest(v1::WatchEventsRequest* request) const;

  // A new stream begins, with what FillRequest() asked for.
  void OnStreamBegin();

  // An event came. False: it was shown before, and is to be dropped.
  bool OnEvent(const v1::Event& event);

  // A Progress came. False: the server is in another journal than the one asked for, so that events
  // may be missing; the cursor has moved to the new one.
  bool OnProgress(const v1::Progress& progress);

  // The snapshot is complete as of this Progress.
  void OnSnapshotDone(const v1::Progress& progress);

  // The server answered OUT_OF_RANGE: what was asked for is gone. Continues from the oldest event
  // that there is. False: that was what it had asked for already, so that nothing new is to be
  // said.
  bool OnOutOfRange();

  // Whether this stream has had an event that is not durable: the position stands before it.
  bool held() const { return held_at_.has_value(); }
  // Whether a durable event has followed it on this stream: the journal takes what waits before it
  // takes anything new, so that a new stream from the position shows what became of it.
  bool can_read_again() const { return durable_after_held_; }
  // The caller ends this stream to read again from the position. False: that has been done
  // kMostReadings times, and the same event still is not durable, so that it never will be; the
  // position has passed it.
  bool ReadAgain();

  // The last sequence known to be complete and durable, in the journal that it belongs to; none
  // before the first Progress.
  struct Position {
    uint64_t sequence = 0;
    std::string journal_id;
  };
  const std::optional<Position>& position() const { return position_; }

 private:
  // An event after the position that was shown.
  struct Shown {
    uint64_t sequence;
    uint64_t fingerprint;  // of all but `durable`
  };

  bool AwaitsSnapshot() const;
  bool NoteShown(const v1::Event& event);
  void Move(uint64_t sequence);
  void Forget();

  WatchStart start_;
  std::optional<Position> position_;
  std::optional<uint64_t> last_event_;  // in the position's journal
  std::deque<Shown> shown_;             // by sequence; all after the position
  std::optional<uint64_t> held_at_;     // on this stream: just before what is not durable
  bool durable_after_held_ = false;     // on this stream
  int readings_ = 0;                    // in vain, from the present position
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_COMMANDS_WATCH_CURSOR_H_
