#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <tuple>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "client/connect/connection.h"
#include "client/connect/failure.h"
#include "client/consume/source.h"
#include "client/fleet/fleet.h"
#include "client/nats/connection.h"
#include "client/nats/jetstream.h"

namespace vmeventd::client {

// Delivers the events of a fleet's stream as they come, each once and in the order of its node,
// over as many connections as needed. A position is a sequence of the stream and the time at which
// its message was stored, by which it is recognised: the stream may be deleted and created,
// restored from a copy, or rolled back, and nodes then publish again what it lacks. The watch then
// continues by that time, and notes that once. A FromSequence without a journal_id is of the
// present stream. One thread.
class FleetWatch : public ReconnectingSource {
 public:
  // Interval at which a watch compares its position with the stream.
  static constexpr absl::Duration kProgressInterval = absl::Seconds(10);
  // Time before the snapshot's end whose events it may not have yet, and which is read again.
  static constexpr absl::Duration kSnapshotOverlap = kMaxSkew;
  // Messages before the position at which a watch begins, of which those behind it may be repeats.
  static constexpr uint64_t kLookBack = 1'000;

  // The dependencies. All must outlive the watch.
  struct Environment : FleetLists::Environment {
    StopSource* stop = nullptr;
    // Waits before the next attempt; returns whether to stop instead.
    std::function<bool(absl::Duration)> wait;
    std::function<double()> random = RandomFraction;
    std::function<absl::Time()> clock = SteadyNow;
  };

  FleetWatch(WatchCommand command, Environment environment);

  // The key of a fleet's position in a cursor file.
  static std::string CursorKey() { return "fleet"; }

 private:
  using VmKey = std::tuple<std::string, std::string, std::string>;  // cluster, node, name

  bool Open() override;
  bool Read(absl::Duration* timeout) override;
  // Makes `connection_` and `reader_`.
  absl::Status Connect();
  // Reads for so long; an error ends the connection.
  absl::Status ReadFor(absl::Duration timeout);
  // Compares the position with what the stream has; notes what is missing. OUT_OF_RANGE: something
  // is, and the watch does not resume.
  absl::Status CheckPosition(const StreamState& state);
  // The position where the watch begins.
  absl::Status TakeStart(const StreamState& state);
  // True: the stream is the one that was read up to the position.
  absl::StatusOr<bool> IsSame(const StreamState& state) const;
  absl::Status Gap(const std::string& why, const StreamState& state);
  void NoteGap(const std::string& sentence);
  // The position is of another stream: continues with what was observed since then.
  absl::Status ContinueByTime(const StreamState& state);
  // Notes it if the stream deleted messages before they were read.
  void CheckJump(const StreamState& state);
  absl::Status TakeSnapshot(const StreamState& state);
  bool IsInSnapshot(const NodeEvent& event) const;
  // Takes what comes within `timeout` and what then is there; false: nothing came.
  absl::StatusOr<bool> TakeBatch(absl::Duration timeout);
  // Compares what was read with what the stream has, and moves the position over what does
  // not pass the filter.
  absl::Status Review();

  // The connection has ended.
  void HandleLoss(const absl::Status& status);

  const WatchCommand command_;
  const Environment env_;
  FleetFilter filter_;
  std::unique_ptr<NatsConnection> connection_;
  std::unique_ptr<FleetEventReader> reader_;
  ReadStart start_ = uint64_t{1};          // valid until there is a position
  std::optional<WatchPosition> position_;  // journal_id is the stream's
  Repeats repeats_;
  bool looked_back_ = false;  // `repeats_` knows the messages before the position
  std::string stream_;        // the present one's time of creation
  bool started_ = false;      // `start_` counts
  std::map<VmKey, std::pair<std::string, uint64_t>> snapshot_;  // journal and last sequence
  absl::Time reviewed_;                                         // time of the last Review()
  // Messages after this one did not pass the filter, or the stream had deleted them.
  std::optional<uint64_t> jumped_after_;
};

}  // namespace vmeventd::client
