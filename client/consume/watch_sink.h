#ifndef VMEVENTD_CLIENT_CONSUME_WATCH_SINK_H_
#define VMEVENTD_CLIENT_CONSUME_WATCH_SINK_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "client/connect/exit_code.h"
#include "client/output/formatter.h"

namespace vmeventd::client {

// Position at which a later watch continues: after `sequence` of that journal, or of that stream of
// a fleet.
struct WatchPosition {
  uint64_t sequence = 0;
  std::string journal_id;  // empty: there is no position yet
  // The id of a fleet's message at `sequence`, and when it was stored: the stream is recognised by
  // them. Empty, or in the infinite past: not known.
  std::string message_id;
  absl::Time message_time = absl::InfinitePast();
  // Earlier events are left out, after a fleet's stream was replaced by another one.
  absl::Time since = absl::InfinitePast();

  bool operator==(const WatchPosition&) const = default;
};

// The position in what one of the watched servers sends.
struct ServerPosition {
  size_t server = 0;  // by its index
  WatchPosition position;
};

struct WatchedEvents {
  Formatter::Events events;
  Formatter::Nodes nodes;  // of each event; empty: all are of the one server that was named
  // Position of each event: a later watch continues there once the event and all before it are
  // done with. It stays before an event that is not durable.
  std::vector<ServerPosition> resume_after;
};

// Takes what a WatchSource delivers, on the source's thread. Each call returns when the source may
// go on; false: the watch ends.
class WatchSink {
 public:
  virtual ~WatchSink() = default;

  // A stream is open; with a snapshot, after its VMs.
  virtual bool OnOpen() = 0;
  // A complete snapshot.
  virtual bool OnVms(const Formatter::Vms& vms, const Formatter::Nodes& nodes) = 0;
  virtual bool OnEvents(WatchedEvents events) = 0;
  // Called when everything up to this position has been delivered.
  virtual bool OnPosition(const ServerPosition& position) = 0;
  // Whether to deliver few events at a time, because each takes long.
  virtual bool one_by_one() const = 0;
};

// One daemon, several or a fleet: delivers events as they happen, over as many connections as
// needed.
class WatchSource {
 public:
  virtual ~WatchSource() = default;

  // Blocks its thread. Returns kOk when it was stopped or the sink ended the watch. Otherwise
  // returns the code of a failure that cannot be retried, after a note about it.
  virtual ExitCode Run(WatchSink* sink) = 0;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONSUME_WATCH_SINK_H_
