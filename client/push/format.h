#ifndef VMEVENTD_CLIENT_PUSH_FORMAT_H_
#define VMEVENTD_CLIENT_PUSH_FORMAT_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/output/formatter.h"

// Events as the bodies of HTTP requests. Pure.

namespace vmeventd::client {

enum class PushFormat { kCloudEvents, kSlack, kAlertmanager, kJson };

// "cloudevents" and so on. INVALID_ARGUMENT lists the formats.
absl::StatusOr<PushFormat> ParsePushFormat(absl::string_view name);
absl::string_view NameOf(PushFormat format);
// The most events of one request: Slack cuts a text of more than 40,000 characters.
int MostEventsOf(PushFormat format);

// Consecutive events, of which each has a node with the name and the journal_id.
struct EventRange {
  const Formatter::Events* events = nullptr;
  const Formatter::Nodes* nodes = nullptr;
  int begin = 0;
  int end = 0;

  int size() const { return end - begin; }
  const v1::Event& event(int index) const { return (*events)[index]; }
  const MessageNode& node(int index) const { return (*nodes)[static_cast<size_t>(index)]; }
};

struct PushBody {
  std::string content_type;
  std::string text;  // empty: the format has nothing to say of these events
};

// What is POSTed for the events. An alert of kAlertmanager that nothing resolves ends `alert_for`
// after its event. INTERNAL: an event cannot be written as JSON.
absl::StatusOr<PushBody> BodyOf(PushFormat format, const EventRange& range,
                                absl::Duration alert_for);

// The CloudEvents attribute "id": the sequence, or of a GAP that no journal has
// "gap-after-SEQUENCE".
std::string IdOf(const v1::Event& event);
// The CloudEvents attribute "source", as the fleet's messages have it; with the id it is unique
// forever. A node that is read directly has the empty cluster.
std::string SourceOf(const MessageNode& node);

// One JSON object: the event as -o json prints it of several nodes, and before that the journal_id.
absl::StatusOr<std::string> PushJson(const v1::Event& event, const MessageNode& node);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_PUSH_FORMAT_H_
