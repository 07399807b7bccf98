#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/output/formatter.h"

// Events as the bodies of HTTP requests. Pure.

namespace vmeventd::client {

enum class PushFormat { kCloudEvents, kSlack, kJson, kTemplate };

// "cloudevents" and so on, as --format takes it.
absl::string_view NameOf(PushFormat format);
// The most events of one request: Slack cuts a text of more than 40,000 characters, and a template
// is about one event.
size_t MostEventsOf(PushFormat format);

struct PushBody {
  std::string content_type;
  std::string text;
};

// Returns the body for the events, whose nodes have the name and the journal_id. `form` is the
// template of kTemplate. INTERNAL: an event cannot be written as JSON.
absl::StatusOr<PushBody> BodyOf(PushFormat format, const std::string& form,
                                Formatter::Events events);

// The template's JSON with the event's fields in its strings: "{{vm}} on {{node}}". The fields are
// the variables of EventVariables(), as "run_id"; and "text", "event_id" and "journal_id".
// INVALID_ARGUMENT says what is wrong with the template, whatever the event.
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

// The line of an event that was set aside, and the event of such a line, which no cursor passes.
// INVALID_ARGUMENT: it is none.
std::string SetAsideLine(const NodeEvent& one, absl::string_view target, absl::string_view reason,
                         absl::Time now);
absl::StatusOr<NodeEvent> ParseSetAside(absl::string_view line);

// Destination of the events. The path and the query of its URL may be a secret, as Slack's are.
struct PushTarget {
  std::vector<std::string> nats;  // NATS servers of a fleet, instead of `url`
  std::string url;
  std::string shown;  // "https://hooks.example", safe for a terminal and without the secret
  std::string key;    // the name of its state directory: the host, and a hash of the URL
};

// Parses and checks the URL: of NATS servers, or by libcurl, which it loads. What is not encrypted
// is for loopback, or with `insecure`. INVALID_ARGUMENT says what is wrong, without the path;
// FAILED_PRECONDITION: libcurl is missing.
absl::StatusOr<PushTarget> ParsePushTarget(absl::string_view url, bool insecure);

// The signature of a request, by which a receiver knows who sent it and when. docs/act.md has a
// receiver's check. Pure.

inline constexpr char kSignatureHeader[] = "Vmevents-Signature";

// The secrets of a file, one a line: each of 16 to 1,024 bytes, at most 2, so that one can be
// replaced. INVALID_ARGUMENT says what is wrong, without the text.
absl::StatusOr<std::vector<std::string>> ParseSecrets(absl::string_view content);

// The header's value, "t=SECONDS,v1=HEX": HEX is the HMAC-SHA256 of "SECONDS.BODY" by a secret. Of
// two secrets there are two v1.
std::string Signature(const std::vector<std::string>& secrets, absl::string_view body,
                      absl::Time now);

// Result of a request.
struct HttpAnswer {
  int status = 0;           // HTTP's; 0: no complete answer came
  std::string fault;        // reason why not; safe for a terminal
  std::string retry_after;  // the header's value; empty: there is none
  std::string body;         // beginning of the body
  bool stopped = false;     // a stop broke it off
};

enum class Verdict {
  kDelivered,  // 2xx
  kSplit,      // 400, 413 or 422 of several events: some of them, or their number, are the cause
  kSetAside,   // 400, 413 or 422 of one event: the receiver will never accept it
  kEnd,        // 410: the receiver wants no more
  kRetry,  // no answer, or any other: a person repairs the receiver, its path or the credentials
};
Verdict VerdictOn(const HttpAnswer& answer, size_t events);

// Reason why it was not delivered, for people: "503 Service Unavailable: its body", "it redirects
// ...". One line, safe for a terminal.
std::string ReasonOf(const HttpAnswer& answer);

// The longest pause that a receiver can ask for.
inline constexpr absl::Duration kLongestRetryAfter = absl::Hours(1);

// Time that a Retry-After asks to wait, in seconds or as an HTTP date: from zero to
// kLongestRetryAfter. nullopt: it is neither.
std::optional<absl::Duration> ParseRetryAfter(absl::string_view text, absl::Time now);

}  // namespace vmeventd::client
