#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/output/formatter.h"

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

// The HMAC-SHA256 in hexadecimal digits.
std::string HmacOf(absl::string_view secret, absl::string_view text);

// The header's value, "t=SECONDS,v1=HEX": HEX is the HmacOf "SECONDS.BODY" by a secret. Of
// two secrets there are two v1.
std::string Signature(const std::vector<std::string>& secrets, absl::string_view body,
                      absl::Time now);

}  // namespace vmeventd::client
