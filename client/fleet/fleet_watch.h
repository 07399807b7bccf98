#ifndef VMEVENTD_CLIENT_FLEET_FLEET_WATCH_H_
#define VMEVENTD_CLIENT_FLEET_FLEET_WATCH_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "base/nats/connection.h"
#include "base/nats/consumer.h"
#include "base/steady_time.h"
#include "client/commands/watch_cursor.h"
#include "client/connect/backoff.h"
#include "client/connect/exit_code.h"
#include "client/connect/stop_source.h"
#include "client/consume/cursor_file.h"
#include "client/consume/event_consumer.h"
#include "client/fleet/fleet_buckets.h"
#include "client/fleet/fleet_events.h"
#include "client/fleet/fleet_filter.h"
#include "client/fleet/fleet_servers.h"

namespace vmeventd::client {

// What `vmevents watch` was asked to do with a fleet.
struct FleetWatchCommand {
  WatchStart start;  // a FromSequence is of the stream; without a journal_id of the present one
  FleetFilter filter;
  std::optional<uint64_t> count;  // ends after that many events, see Counts()
  bool counts_gaps = true;        // a GAP is one of them
  bool resume = true;             // continues when the servers come back
  bool wait = false;              // waits for servers that are not there yet
};

// Delivers the events of a fleet's stream as they come, each once and in order, over as many
// connections as needed. A position is a sequence of the stream and the stream's time of
// creation, which another stream of the same name does not share. Blocks its one thread until done
// or stopped.
class FleetWatch {
 public:
  // How often a watch of rare events asks how far it is.
  static constexpr absl::Duration kProgressInterval = absl::Seconds(10);
  // How long before the snapshot's end events are read that it may not have yet.
  static constexpr absl::Duration kSnapshotOverlap = absl::Minutes(1);

  // The dependencies. All must outlive the watch.
  struct Environment {
    FleetConnector connect;
    std::string servers;  // for messages
    EventConsumer* consumer = nullptr;
    CursorFile* cursor = nullptr;  // null: none is kept
    StopSource* stop = nullptr;
    // Prints a sentence, safe for a terminal, to stderr.
    std::function<void(const std::string&)> note;
    // Waits before the next attempt; returns whether to stop instead.
    std::function<bool(absl::Duration)> wait;
    std::function<double()> random = RandomFraction;
    std::function<absl::Time()> clock = SteadyNow;
  };

  FleetWatch(FleetWatchCommand command, Environment environment);

  // Returns when the count is reached, when stopped, or when the consumer ends it quietly: kOk, or
  // kInterrupted if a count was not reached. Otherwise returns the code of a failure that cannot be
  // retried, after a note about it.
  ExitCode Run();

  // The key of a fleet's position in a cursor file.
  static std::string CursorKey() { return "fleet"; }

 private:
  using VmKey = std::tuple<std::string, std::string, std::string>;  // cluster, node, name

  // One connection; returns why it ended. OK: `code_` is set.
  absl::Status RunConnection();
  absl::Status ReadAll(NatsConnection* connection, FleetEventReader* reader);
  // Compares the position with what the stream has; notes what is missing. OUT_OF_RANGE: something
  // is, and the watch does not resume.
  absl::Status CheckPosition(const StreamState& state);
  absl::Status Gap(const std::string& why, const StreamState& state);
  // Notes it if the stream deleted messages before they were read.
  void CheckJump(const StreamState& state);
  absl::Status TakeSnapshot(NatsConnection* connection, const StreamState& state);
  bool IsInSnapshot(const FleetEvent& event) const;
  // Takes what comes within `timeout` and what then is there; false: nothing came.
  absl::StatusOr<bool> TakeBatch(FleetEventReader* reader, absl::Duration timeout);
  absl::Status Consume(const Formatter::Events& events, const Formatter::Nodes& nodes);
  // Moves the position over what the filter leaves out.
  absl::Status MoveOn(FleetEventReader* reader);
  absl::Status SavePosition();

  std::optional<ExitCode> HandleLoss(const absl::Status& status);
  void NoteEstablished();
  ExitCode StoppedCode() const;

  const FleetWatchCommand command_;
  FleetFilter filter_;
  const Environment env_;
  ReadStart start_ = uint64_t{1};          // until there is a position
  std::optional<WatchPosition> position_;  // its journal_id is the stream's
  std::string stream_;                     // the present one's time of creation
  bool started_ = false;                   // `start_` counts
  std::map<VmKey, std::pair<std::string, uint64_t>> snapshot_;  // journal and last sequence
  uint64_t delivered_ = 0;                                      // of those that count
  bool begun_ = false;
  absl::Time asked_;    // when it was last asked how far the consumer is
  absl::Time checked_;  // when the stream's oldest message was last compared
  // Behind this message the filter left some out, or the stream had deleted them.
  std::optional<uint64_t> jumped_after_;
  std::optional<ExitCode> code_;
  std::optional<absl::Status> consumer_status_;  // why the consumer ended the watch
  Backoff backoff_;
  bool ever_established_ = false;
  bool loss_noted_ = false;
  std::string last_reason_;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_FLEET_FLEET_WATCH_H_
