#pragma once

#include <cstdint>
#include <optional>

#include "client/output/watch_position.h"
#include "client/sources/watch_command.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// How far a watch of one daemon has come, over any number of streams: decides what the next stream
// requests, and drops what was delivered before, so that nothing is lost or repeated. Reports where
// events may be missing. Pure: has no connection, clock or thread.
//
// For each stream, call FillRequest(), then one function for each part of a message, in the order
// in which the server sent them. It relies on the contract: the sequences of one journal increase
// on a stream, and none is used twice; each stream begins with a Progress, which names the journal
// and the sequence up to which everything was sent and is durable. An incomplete snapshot is
// requested again. The position never passes an event that is not durable, because a crash of the
// daemon may lose it: the next stream sends such events again.
class WatchCursor {
 public:
  // A FromSequence must have its journal_id.
  explicit WatchCursor(WatchStart start);

  // Returns whether the next stream must begin with a snapshot, or the present one has not
  // completed it.
  bool AwaitsSnapshot() const;

  // Fills in `start` and `journal_id` of the next stream's request.
  void FillRequest(v1::WatchEventsRequest* request) const;

  // An event arrived. False: an earlier stream had it; drop it.
  bool OnEvent(const v1::Event& event);

  // A Progress arrived. False: the server has another journal than the one requested, so events may
  // be missing; the cursor has moved to the new one.
  bool OnProgress(const v1::Progress& progress);

  // This Progress completes the snapshot.
  void OnSnapshotDone(const v1::Progress& progress);

  // The server answered OUT_OF_RANGE: what was requested is gone, so events may be missing, and the
  // next stream begins with the oldest retained event. If the journal is `damaged` there, it begins
  // with new events, because from the oldest one it would reach the damage again. False: the oldest
  // event was requested already, and retention has overtaken the request: there is nothing new.
  bool OnOutOfRange(bool damaged);

  // The last sequence known to be complete and durable, in the journal that it belongs to; none
  // before the first Progress, or while a snapshot is incomplete.
  const std::optional<WatchPosition>& position() const { return position_; }

 private:
  // Everything up to `sequence` has arrived, and everything up to `durable` is durable.
  void Reach(uint64_t sequence, uint64_t durable);

  WatchStart start_;  // counts until there is a position
  std::optional<WatchPosition> position_;
  uint64_t reached_ = 0;  // everything up to it has arrived, of the position's journal
};

}  // namespace vmeventd::client
