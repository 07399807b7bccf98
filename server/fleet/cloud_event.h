#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/message.h"
#include "server/config/config.h"
#include "server/events/event_block.h"
#include "vmeventd/v1/vm_events.pb.h"

// Events as CloudEvents 1.0 in binary mode, by the NATS protocol binding: each attribute is a
// header with the prefix "ce-", percent-encoded; the payload is the event alone. Pure.

namespace vmeventd {

// Identity of the events' node and journal.
struct FleetIdentity {
  std::string cluster;
  std::string node;
  std::string journal_id;
};

// One message of the fleet's stream, or of a bucket.
struct FleetMessage {
  uint64_t sequence = 0;  // the event's in the journal
  // Place of the key's last message, in a bucket: at any other the message is not stored; 0: the
  // key has none.
  std::optional<uint64_t> replaces;
  std::string subject;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string payload;  // empty, in a bucket: the key is deleted
};

// Makes the messages of one journal. Immutable.
class FleetEncoder {
 public:
  // `secret` is the node's, so that nobody else can guess a message's id. Empty: the ids have no
  // code.
  FleetEncoder(const FleetIdentity& identity, PublishFormat format, std::string secret);

  const std::string& journal_id() const { return journal_id_; }
  // `encoded`: the event as one `events` field, as EventBlock has it.
  FleetMessage Encode(const EventBlock::Entry& entry, absl::string_view encoded) const;
  // A GAP of the node for the sequences [first, last], which are not in the stream because of
  // `why`. It has the sequence `last`, as a GAP in the journal would.
  FleetMessage EncodeGap(uint64_t first, uint64_t last, absl::string_view why,
                         absl::Time now) const;

 private:
  // Makes all but the payload.
  FleetMessage Envelope(const EventBlock::Entry& entry) const;

  const std::string journal_id_;
  const PublishFormat format_;
  const std::string secret_;
  const std::string source_;
  const std::string subject_prefix_;
};

// The event's part of a subject: its type in lower case, and its class: "monitor-lost",
// "stopped.crash".
std::string EventToken(v1::EventType type, v1::ShutdownClass shutdown_class);

std::string PayloadOf(const google::protobuf::Message& message, PublishFormat format);
// A v1.Vm; `encoded`: as one `snapshot_vms` field, as VmRecord has it.
std::string VmPayload(absl::string_view encoded, PublishFormat format);
std::vector<std::pair<std::string, std::string>> ValueHeaders(const FleetIdentity& identity,
                                                              PublishFormat format);

// Parts of a message's Nats-Msg-Id, "JOURNAL_ID:SEQUENCE:CODE". The code, 16 hexadecimal digits, is
// an HMAC-SHA256 of what stands before it and of the node's subjects, by the node's secret: the
// stream drops a message whose id it has seen, whoever sent it, so that another node must not know
// the next one, and a node that is renamed needs other ones. Earlier versions wrote none.
struct FleetMessageId {
  std::string journal_id;
  uint64_t sequence = 0;
};
std::string ToMessageId(const FleetMessageId& id, absl::string_view subject_prefix,
                        const std::string& secret);
// Parses an id, without checking its code. nullopt: it is another program's.
std::optional<FleetMessageId> ParseMessageId(absl::string_view text);

// The journal id of a ce-source; empty: it is none.
std::string JournalOfSource(absl::string_view source);

}  // namespace vmeventd
