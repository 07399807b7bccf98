#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "server/fleet/cloud_event.h"

namespace vmeventd {

// A place in a journal, and in the fleet's stream.
struct FleetPosition {
  std::string journal_id;
  uint64_t sequence = 0;
  uint64_t stream_sequence = 0;  // place of a message of the node; 0: not known
  std::string log_id;            // the stream's, as in FleetSink::Log; empty: not known
  // Sequence up to which the stream had everything, before it lost a part. Until that part is
  // republished, positions in its messages may refer to the stream that is gone.
  uint64_t lost_up_to = 0;
  // The last message of the stream that is known to be this node's: its place, and its sequence in
  // the journal. 0: none is. A hole may keep `stream_sequence` behind it. A stream that has another
  // message there was restored.
  struct Own {
    uint64_t place = 0;
    uint64_t sequence = 0;
  };
  Own own;
  Own looked_at;  // `own` at the last look at the stream
};

// A message that the stream or a bucket has.
struct FleetStored {
  // Its place and content; without a journal_id: no event of the node, or no value of a vmeventd.
  FleetPosition position;
  // The publisher's position when it sent that message: `position` itself if the message does not
  // name it.
  FleetPosition sent_after;
  std::string subject;
  bool deleted = false;  // it says that the key of a bucket was deleted
};

// Headers of each message. The first is its `sent_after`, "SEQUENCE:STREAM_SEQUENCE"; the second is
// the id of the stream that it was sent to.
inline constexpr char kSentAfterHeader[] = "Vmevents-After";
inline constexpr char kSentToHeader[] = "Vmevents-Stream";
std::string ToSentAfter(const FleetPosition& position);

// Describes a message at the place `stream_sequence` of the stream `log_id` by the values of its
// headers. A message that was sent to another stream, or to this one before it was restored, and
// came late says nothing of what stands before it: `sent_after` is the journal's beginning then.
FleetStored ToStored(const FleetMessageId& id, uint64_t stream_sequence, absl::string_view log_id,
                     absl::string_view sent_after, absl::string_view sent_to);

}  // namespace vmeventd
