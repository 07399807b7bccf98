#ifndef VMEVENTD_SERVER_FLEET_FLEET_SINK_H_
#define VMEVENTD_SERVER_FLEET_FLEET_SINK_H_

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/fleet/cloud_event.h"
#include "server/fleet/fleet_position.h"

namespace vmeventd {

// The engine that keeps the fleet's stream. FleetPublisher decides what is sent when, so that a
// sink only sends. Every call but Interrupt is for one thread, and ends within a time that the sink
// bounds; after an error, Connect is the next.
class FleetSink {
 public:
  virtual ~FleetSink() = default;

  // Gives up the connection that there was, and makes another one. Returns the node's last message
  // in the stream; nullopt: it has none. FAILED_PRECONDITION: there is no such stream. The error is
  // for people and has no secrets.
  virtual absl::StatusOr<std::optional<FleetTail>> Connect() = 0;

  // Which events of `after.journal_id` later than `after.sequence` are stored behind
  // `after.stream_sequence`. OUT_OF_RANGE: more than `limit` messages of the node are.
  virtual absl::StatusOr<std::set<uint64_t>> StoredAfter(const FleetPosition& after,
                                                         size_t limit) = 0;

  // Sends all messages in order, and returns once each is acknowledged or one of them is not.
  struct Progress {
    absl::Status status;           // not OK: not all are acknowledged
    size_t acknowledged = 0;       // so many of the first messages are
    uint64_t stream_sequence = 0;  // of the last of these
    size_t repeated = 0;           // of these, so many were in the stream already
  };
  virtual Progress Publish(const std::vector<FleetMessage>& batch) = 0;

  // A key-value bucket. NOT_FOUND or FAILED_PRECONDITION: there is none. After an error of these
  // three the connection may still stand: see Check.
  struct BucketInfo {
    std::string created;                // another text: it was deleted and made again
    std::vector<std::string> subjects;  // that match the filter and have a message
  };
  // Makes the bucket if it is missing and that is configured. `filter`: subjects to list; empty:
  // none.
  virtual absl::StatusOr<BucketInfo> OpenBucket(absl::string_view bucket,
                                                absl::string_view filter) = 0;
  // Whether the last message of a key says that it was deleted.
  virtual absl::StatusOr<bool> IsDeleted(absl::string_view bucket, const std::string& subject) = 0;
  // As Publish, of values of a bucket.
  virtual Progress Put(absl::string_view bucket, const std::vector<FleetMessage>& batch) = 0;
  // Sends a last message where the connection stands, also after Interrupt, and waits for half a
  // second at the most until the server has read it.
  virtual absl::Status Leave(const FleetMessage& message) = 0;

  // Whether the connection still stands, where nothing is sent. Does not block.
  virtual absl::Status Check() = 0;

  // Ends what is under way, and everything from then on, with CANCELLED. Any thread.
  virtual void Interrupt() = 0;
};

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_FLEET_FLEET_SINK_H_
