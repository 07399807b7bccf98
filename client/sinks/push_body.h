#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "client/output/formatter.h"
#include "client/output/node_event.h"
#include "client/sinks/push_command.h"

// The bodies of a push's requests.

namespace vmeventd::client {

struct PushBody {
  std::string content_type;
  std::string text;
};
// Returns the body for the events. Their nodes must have a name and a journal_id. `form` is the
// template for kTemplate; it must have passed CheckTemplate(), and takes one event. INTERNAL: an
// event cannot be written as JSON.
absl::StatusOr<PushBody> BodyOf(PushFormat format, const std::string& form,
                                Formatter::Events events);

// Checks and returns the template: JSON whose strings contain fields, such as "{{vm}} on {{node}}".
// The fields are the variables of EventVariables(), such as "run_id", and "text" (cut after 1,000
// columns), "subject", "severity", "event_id" and "journal_id". INVALID_ARGUMENT names the fault,
// such as an example's "REPLACE-...".
absl::StatusOr<std::string> CheckTemplate(const std::string& form);

}  // namespace vmeventd::client
