#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/nats/connection.h"
#include "client/output/formatter.h"
#include "google/protobuf/message.h"

// Events as the bodies of HTTP requests, and as the messages of a fleet. Pure.

namespace vmeventd::client {

enum class PushFormat { kCloudEvents, kJson, kTemplate };

// "cloudevents" and so on, as --format takes it.
absl::string_view NameOf(PushFormat format);

struct PushBody {
  std::string content_type;
  std::string text;
};

// Returns the body for the events, whose nodes have the name and the journal_id. `form` is the
// template of kTemplate, which is about one event. INTERNAL: an event cannot be written as JSON.
absl::StatusOr<PushBody> BodyOf(PushFormat format, const std::string& form,
                                Formatter::Events events);

// The template's JSON with the event's fields in its strings: "{{vm}} on {{node}}". The fields are
// the variables of EventVariables(), as "run_id"; and "text", which is cut after 1,000 columns,
// "event_id" and "journal_id".
// INVALID_ARGUMENT names the fault of the template, with any event.
absl::StatusOr<std::string> FillTemplate(const std::string& form, const v1::Event& event,
                                         const MessageNode& node);

// The CloudEvents attribute "id": the sequence, or of a GAP that no journal has
// "gap-after-SEQUENCE".
std::string IdOf(const v1::Event& event);
// The CloudEvents attribute "source", as the fleet's messages have it; with the id it is unique
// forever. A node that is read directly has the empty cluster.
std::string SourceOf(const MessageNode& node);

// The body as one JSON object: the event as -o json prints it of several nodes, and before that the
// journal_id.
absl::StatusOr<std::string> PushJson(const v1::Event& event, const MessageNode& node);

// A message of the fleet with its payload, and the headers that a value of a bucket has too. `node`
// has its cluster. INTERNAL: the payload cannot be written as JSON.
absl::StatusOr<NatsMessage> FleetMessage(std::string subject,
                                         const google::protobuf::Message& payload,
                                         const MessageNode& node, bool json);
// The message of an event in the fleet's stream: a CloudEvent in binary mode, docs/many-nodes.md.
absl::StatusOr<NatsMessage> FleetMessageOf(const v1::Event& event, const MessageNode& node,
                                           bool json);
// The event of the node that the message of the fleet's stream is of; nullopt: it is another
// program's, or of another journal. A GAP without a sequence counts as the event before it.
std::optional<uint64_t> SequenceIn(const NatsMessage& message, const MessageNode& node);

// The line of an event that was set aside, and the event of such a line, which no cursor passes.
// INVALID_ARGUMENT: it is none.
std::string SetAsideLine(const NodeEvent& one, absl::string_view target, absl::string_view reason,
                         absl::Time now);
absl::StatusOr<NodeEvent> ParseSetAside(absl::string_view line);

// The signature of a request, by which a receiver knows who sent it and when. docs/act.md has a
// receiver's check. Pure.

inline constexpr char kSignatureHeader[] = "Vmevents-Signature";

// The secrets of a file, one a line: each of 16 to 1,024 bytes, at most 2, so that one can be
// replaced. INVALID_ARGUMENT names the fault, without the text.
absl::StatusOr<std::vector<std::string>> ParseSecrets(absl::string_view content);

// The header's value, "t=SECONDS,v1=HEX": HEX is the HMAC-SHA256 of "SECONDS.BODY" by a secret. Of
// two secrets there are two v1.
std::string Signature(const std::vector<std::string>& secrets, absl::string_view body,
                      absl::Time now);

}  // namespace vmeventd::client
