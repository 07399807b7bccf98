#ifndef VMEVENTD_SERVER_FLEET_CLOUD_EVENT_H_
#define VMEVENTD_SERVER_FLEET_CLOUD_EVENT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/message.h"
#include "server/events/event_block.h"
#include "vmeventd/v1/vm_events.pb.h"

// Events as CloudEvents 1.0 in binary mode, by the NATS protocol binding: each attribute is a
// header with the prefix "ce-", percent-encoded; the payload is the event alone. Pure.

namespace vmeventd {

enum class FleetFormat { kProtobuf, kJson };

// Whose events these are.
struct FleetIdentity {
  std::string cluster;
  std::string node;
  std::string journal_id;
};

// One message of the fleet's stream.
struct FleetMessage {
  uint64_t sequence = 0;  // in the journal
  std::string subject;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string payload;
};

// Makes the messages of one journal. It keeps what one message has in common with the next. One
// thread.
class FleetEncoder {
 public:
  FleetEncoder(const FleetIdentity& identity, FleetFormat format);

  const std::string& journal_id() const { return journal_id_; }
  // `encoded`: the event as one `events` field, as EventBlock has it.
  FleetMessage Encode(const EventBlock::Entry& entry, absl::string_view encoded);
  // A GAP of the node for the sequences [first, last], which the journal no longer has. It has the
  // sequence `last`, as a GAP in the journal would.
  FleetMessage EncodeGap(uint64_t first, uint64_t last, absl::Time now);

 private:
  // All but the payload.
  FleetMessage Envelope(const EventBlock::Entry& entry);
  // As RFC 3339 has it, in UTC.
  std::string TimeText(absl::Time time);

  const std::string journal_id_;
  const FleetFormat format_;
  const std::string source_;
  const std::string subject_prefix_;
  // The event of the last message, as its subject names it, and the second of its time.
  v1::EventType type_ = v1::EVENT_TYPE_UNSPECIFIED;
  v1::ShutdownClass shutdown_class_ = v1::SHUTDOWN_CLASS_UNSPECIFIED;
  std::string event_;
  int64_t second_ = INT64_MIN;
  std::string second_text_;
};

// The event's part of a subject: its type in lower case, and its class: "monitor-lost",
// "stopped.crash".
std::string EventToken(v1::EventType type, v1::ShutdownClass shutdown_class);

// The payload of a message.
std::string PayloadOf(const google::protobuf::Message& message, FleetFormat format);
// A v1.Vm; `encoded`: as one `snapshot_vms` field, as VmRecord has it.
std::string VmPayload(const std::string& encoded, FleetFormat format);
// The headers of a key's value.
std::vector<std::pair<std::string, std::string>> ValueHeaders(const FleetIdentity& identity,
                                                              FleetFormat format);

// Parts of a message's Nats-Msg-Id: "JOURNAL_ID:SEQUENCE".
struct FleetMessageId {
  std::string journal_id;
  uint64_t sequence = 0;
};
std::string ToMessageId(const FleetMessageId& id);
// nullopt: it is another program's.
std::optional<FleetMessageId> ParseMessageId(absl::string_view text);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_FLEET_CLOUD_EVENT_H_
