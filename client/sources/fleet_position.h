#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>

#include "absl/time/time.h"
#include "client/nats/jetstream.h"
#include "client/nats/stream_reader.h"
#include "client/output/watch_position.h"
#include "client/sources/watch_command.h"

namespace vmeventd::client {

// How far a watch of a fleet's stream has come, over any number of connections: decides where each
// connection begins to read, and whether messages were lost. Pure: has no connection, clock or
// thread; its owner asks the server for what it is given.
//
// A position is a sequence of the stream, and the time at which its message was stored. The time
// shows whether it is still the same stream: a stream may be deleted and created again, restored
// from a copy, or rolled back. Sequences that are skipped are no loss by themselves: the server
// sends no message that cannot pass the filter. They are one if the stream's oldest message is
// beyond them, because the stream's limits deleted the messages before that.
class FleetPosition {
 public:
  // Events may be missing. `why` is a sentence's end for people, which may have any bytes; `behind`
  // is the position that the watch had; unset: it had none.
  struct Gap {
    std::string why;
    std::optional<WatchPosition> behind = {};
  };
  // What a watch does on a new connection: it reads from ReadFrom(), after it has reported the gap
  // if there is one. ByTime: the position is lost; the watch delivers only events that were
  // observed since then.
  struct Continue {};
  struct ByTime {
    Gap gap;
    absl::Time since;
  };
  using Step = std::variant<Continue, Gap, ByTime>;

  // A FromSequence without a journal_id is of the first stream.
  explicit FleetPosition(WatchStart start);

  // Connections: for each, first the state of the stream.

  // Returns whether the watch begins with a snapshot that it has not had yet.
  bool AwaitsSnapshot() const;
  // The snapshot was taken, after the state.
  void OnSnapshot(const StreamState& state);

  // Returns the sequence of the message whose time OnConnected() needs; unset: it needs none.
  std::optional<uint64_t> WantedMessage(const StreamState& state) const;
  // The stream is in that state. `stored`: when the wanted message was stored; unset: none was
  // wanted, or the stream no longer has it. Not while a snapshot is awaited.
  Step OnConnected(const StreamState& state, std::optional<absl::Time> stored);

  // Returns where to read from: some messages before the position, because those after it may
  // repeat their events.
  ReadStart ReadFrom() const;

  // Messages, in the order of the stream.

  // A message arrived. False: it is one of those before the position; drop it.
  bool OnMessage(uint64_t sequence, absl::Time stored);
  // Returns whether sequences were skipped since the last comparison. Compare soon: what the
  // stream's limits delete later would count as a loss.
  bool HasSkipped() const { return skipped_after_.has_value(); }
  // Compares what was read with the stream.
  std::optional<Gap> OnState(const StreamState& state);
  // Everything that the stream had in that state and that may pass the filter was read.
  void OnAllRead(const StreamState& state);

  // Unset until there is a first message, or an end of the stream that was reached. Its journal_id
  // names the stream, by the time at which it was created.
  const std::optional<WatchPosition>& position() const { return position_; }

 private:
  Step Begin(const StreamState& state, const WatchStart& start);
  Step Resume(const StreamState& state);
  bool IsSame(const StreamState& state, std::optional<absl::Time> stored) const;

  WatchStart start_;              // the oldest, once a connection has begun at the given one
  ReadStart from_ = uint64_t{1};  // counts until there is a position
  std::optional<WatchPosition> position_;
  std::string stream_;                     // the present one's name
  std::optional<uint64_t> skipped_after_;  // the sequence before the first one that was skipped
};

}  // namespace vmeventd::client
