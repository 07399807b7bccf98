#pragma once

#include <algorithm>
#include <cstdint>
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

// The engine that keeps what the nodes publish: a log of events, and two tables, which are logs
// that keep the last message of each subject. A place is a number that grows with each message of a
// log, from 1. FleetPublisher decides what is sent when, and finds what is stored
// (stored_messages.h), so that a sink only sends and looks up. Every call but Interrupt is for one
// thread, and ends within a time that the sink bounds. Errors are for people and have no secrets.
class FleetSink {
 public:
  using Stored = std::optional<FleetStored>;  // nullopt: no such message exists, any more or yet

  virtual ~FleetSink() = default;

  enum class Where { kEvents, kVms, kNodes };
  struct Log {
    std::string id;              // another text: it was made again
    uint64_t first = 1;          // place of its oldest message; last + 1: it has none
    uint64_t last = 0;           // place of the newest message that it ever had
    uint64_t size = 0;           // messages that it has
    std::set<std::string> keys;  // the node's subjects that have a message; for kVms
    // Round trip of the network alone, measured as the connection was made.
    absl::Duration round_trip = absl::ZeroDuration();
  };
  // Looks at a log; for that of events, connects again unless a connection stands on which all
  // messages are answered. FAILED_PRECONDITION: there is no such log.
  virtual absl::StatusOr<Log> Look(Where where) = 0;

  // The message at each of `places`, whoever sent it.
  virtual absl::StatusOr<std::vector<Stored>> At(Where where,
                                                 const std::vector<uint64_t>& places) = 0;
  // Finds the first message under the node's name at or behind each of `places`.
  virtual absl::StatusOr<std::vector<Stored>> Next(Where where,
                                                   const std::vector<uint64_t>& places) = 0;
  // Finds the last message of each of these subjects of the node; empty: of all its subjects. May
  // cost the engine a search of its whole log.
  virtual absl::StatusOr<std::vector<Stored>> Last(Where where,
                                                   const std::vector<std::string>& subjects) = 0;

  struct Answer {
    enum Kind {
      kNone,      // it may be stored, or not
      kStored,    // stored at `place`
      kRefused,   // not now; another time it may be stored
      kUnfit,     // never
      kOutdated,  // its subject has another message than FleetMessage.replaces
    };
    Kind kind = kNone;
    uint64_t place = 0;
    bool repeated = false;  // it was stored already
  };
  struct Answers {
    absl::Status status;       // OK: all are stored. Else the reason why one is not
    std::vector<Answer> each;  // answer of each message

    bool has(Answer::Kind kind) const {
      return std::any_of(each.begin(), each.end(),
                         [kind](const Answer& answer) { return answer.kind == kind; });
    }
  };
  // Sends all messages in order, and returns once each has an answer, or none comes any more. After
  // Interrupt it waits for none, but for half a second at the most until the engine has read them.
  // No messages: whether the connection stands, without waiting.
  virtual Answers Send(Where where, const std::vector<FleetMessage>& batch) = 0;

  // Ends what is under way, and everything from then on, with CANCELLED. Any thread.
  virtual void Interrupt() = 0;
};

}  // namespace vmeventd
