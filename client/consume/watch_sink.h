#ifndef VMEVENTD_CLIENT_CONSUME_WATCH_SINK_H_
#define VMEVENTD_CLIENT_CONSUME_WATCH_SINK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "google/protobuf/repeated_ptr_field.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd::client {

// Where a later watch continues: after `sequence` of that journal.
struct WatchPosition {
  uint64_t sequence = 0;
  std::string journal_id;

  bool operator==(const WatchPosition&) const = default;
};

// Events of one node, in order.
struct WatchedEvents {
  google::protobuf::RepeatedPtrField<v1::Event> events;
  // Of each event: a later watch continues after this sequence once the event and all before it are
  // done with. It stays before an event that is not durable.
  std::vector<uint64_t> resume_after;
  std::string journal_id;  // of these sequences; empty: not known yet
};

// Takes what a watch of one node delivers, on the watch's thread. Each call returns when the caller
// may go on. CANCELLED: the watch ends quietly; another error ends it with the error's message.
class WatchSink {
 public:
  virtual ~WatchSink() = default;

  // The stream is open: called once, before the first event, and with a snapshot after it.
  virtual absl::Status OnOpen() = 0;
  // A complete snapshot.
  virtual absl::Status OnVms(const google::protobuf::RepeatedPtrField<v1::Vm>& vms) = 0;
  virtual absl::Status OnEvents(WatchedEvents events) = 0;
  // There is nothing else to do up to this position.
  virtual absl::Status OnPosition(const WatchPosition& position) = 0;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_CONSUME_WATCH_SINK_H_
