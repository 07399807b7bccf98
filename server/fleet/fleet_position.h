#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/system.h"
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

// Position up to which the journal is published, in a small file beside it (docs/journal.md).
// Written in place: it outlives the daemon's kill. A loss of the host's power may take it back; the
// stream itself says then how far it came. One thread.
class PositionFile {
 public:
  // Opens or creates the file. `target` names the stream and the node's place in it; a position
  // written for another target counts as none.
  static absl::StatusOr<std::unique_ptr<PositionFile>> Open(const std::string& path,
                                                            const std::string& target);

  // The other target for which the file was written, as Open has read it; empty: there was none.
  const std::string& target_before() const { return target_before_; }
  // Position as read by Open, or as set last; an empty journal_id: there is none.
  const FleetPosition& value() const { return value_; }
  absl::Status Set(const FleetPosition& value);

 private:
  PositionFile(std::string path, std::string target, UniqueFd fd)
      : path_(std::move(path)), target_(std::move(target)), fd_(std::move(fd)) {}

  const std::string path_;
  const std::string target_;
  const UniqueFd fd_;
  std::string target_before_;
  FleetPosition value_;
};

}  // namespace vmeventd
