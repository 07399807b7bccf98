#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/fleet/cloud_event.h"
#include "server/fleet/fleet_position.h"

namespace vmeventd {

// The engine that keeps the fleet's events in a log, and last values by key in two tables. A place
// is a number that grows with each message of a log or table, from 1. FleetPublisher decides what
// is sent when, so that a sink only sends. Every call but Interrupt is for one thread, and ends
// within a time that the sink bounds.
class FleetSink {
 public:
  virtual ~FleetSink() = default;

  // A log or table as it is now.
  struct Log {
    std::string id;      // another text: it was made again
    uint64_t first = 1;  // place of its oldest message; last + 1: it has none
    uint64_t last = 0;   // place of the newest message that it ever had
    // Round trip of the network alone, measured as the connection was made.
    absl::Duration round_trip = absl::ZeroDuration();
  };
  // Looks at the log of events, over a new connection if none stands whose messages are all
  // answered. FAILED_PRECONDITION: there is no such log. The error is for people and has no
  // secrets.
  virtual absl::StatusOr<Log> Look() = 0;

  // The last message under the node's name; nullopt: there is none. May cost the engine a search
  // of all that it has.
  virtual absl::StatusOr<std::optional<FleetTail>> Tail() = 0;
  // The last event of a journal before a place; nullopt: there is none, or none within a number of
  // messages under the node's name that the sink bounds.
  virtual absl::StatusOr<std::optional<FleetTail>> LastOf(const std::string& journal_id,
                                                          uint64_t before) = 0;
  // Which event the message at a place is; without a journal_id: it is none of the node's. nullopt:
  // there is no message, any more or yet.
  virtual absl::StatusOr<std::optional<FleetMessageId>> At(uint64_t place) = 0;

  // Which events of `after.journal_id` later than `after.sequence` are stored behind
  // `after.stream_sequence`; some are left out behind a number of others' messages under the node's
  // name that the sink bounds. OUT_OF_RANGE: more than `limit` of the journal's are there.
  virtual absl::StatusOr<std::set<uint64_t>> StoredAfter(const FleetPosition& after,
                                                         size_t limit) = 0;

  enum class Where { kEvents, kVms, kNodes };
  struct Answer {
    enum Kind {
      kNone,      // it may be stored, or not
      kStored,    // at `place`
      kRefused,   // not now; another time it may be stored
      kUnfit,     // never
      kOutdated,  // its key has another value than FleetMessage.replaces
    };
    Kind kind = kNone;
    uint64_t place = 0;
    bool repeated = false;  // it was stored already
  };
  struct Answers {
    absl::Status status;       // OK: all are stored. Otherwise why one of them is not
    std::vector<Answer> each;  // by message
  };
  // Sends all messages in order, and returns once each has an answer, or none comes any more.
  virtual Answers Send(Where where, const std::vector<FleetMessage>& batch) = 0;

  // What a table has of this node.
  struct Table {
    std::string id;              // another text: it was made again
    uint64_t size = 0;           // the keys of all nodes, deleted ones included
    std::set<std::string> keys;  // the subjects that have a message; of kNodes none are listed
    // The places of those at `since` or later, by subject, up to the place `read_to`.
    std::map<std::string, uint64_t> later;
    uint64_t read_to = UINT64_MAX;
  };
  // `since`: 0: none are. NOT_FOUND or FAILED_PRECONDITION: there is no such table.
  virtual absl::StatusOr<Table> LookAtTable(Where where, uint64_t since) = 0;
  // The last message of a key of a table; nullopt: there is none.
  struct Value {
    bool deleted = false;    // it says that the key was deleted
    std::string journal_id;  // of the node that wrote it; empty: not known
  };
  virtual absl::StatusOr<std::optional<Value>> Read(Where where, const std::string& subject) = 0;

  // Sends a last message where the connection stands, also after Interrupt, and waits for half a
  // second at the most until the server has read it.
  virtual absl::Status Leave(const FleetMessage& message) = 0;

  // Whether the connection still stands, where nothing is sent. Does not block.
  virtual absl::Status Check() = 0;

  // Ends what is under way, and everything from then on, with CANCELLED. Any thread.
  virtual void Interrupt() = 0;
};

}  // namespace vmeventd
