#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/output/formatter.h"
#include "client/output/node_event.h"
#include "client/sinks/push_command.h"

// The bodies of a push's requests, and the file of what was set aside.

namespace vmeventd::client {

struct PushBody {
  std::string content_type;
  std::string text;
};
// Returns the body for the events, whose nodes have the name and the journal_id. `form` is the
// template of kTemplate, which was checked and is about one event. INTERNAL: an event cannot be
// written as JSON.
absl::StatusOr<PushBody> BodyOf(PushFormat format, const std::string& form,
                                Formatter::Events events);

// Returns the template, JSON in whose strings a field stands as "{{vm}} on {{node}}". The fields
// are the variables of EventVariables(), as "run_id"; and "text", which is cut after 1,000 columns,
// "subject", "severity", "event_id" and "journal_id". INVALID_ARGUMENT names the fault, such as an
// example's "REPLACE-...".
absl::StatusOr<std::string> CheckTemplate(const std::string& form);

// An event for a receiver to be tried with. It says that it is none, and is of no VM that exists.
NodeEvent TrialEvent(const std::string& node, absl::Time now);

// The line of an event that was set aside, and the event of such a line, which no cursor passes.
// INVALID_ARGUMENT: it is none.
std::string SetAsideLine(const NodeEvent& one, absl::string_view target, absl::string_view reason,
                         absl::Time now);
absl::StatusOr<NodeEvent> ParseSetAside(absl::string_view line);

}  // namespace vmeventd::client
