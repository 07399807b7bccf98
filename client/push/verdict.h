#ifndef VMEVENTD_CLIENT_PUSH_VERDICT_H_
#define VMEVENTD_CLIENT_PUSH_VERDICT_H_

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// What follows from the answer to a request. Pure.

namespace vmeventd::client {

// How a request ended.
struct HttpAnswer {
  int status = 0;           // of HTTP; 0: no complete answer came
  std::string fault;        // why not; safe for a terminal
  std::string retry_after;  // the header's value; empty: there is none
  std::string body;         // its beginning
  bool stopped = false;     // it was broken off by a stop
};

enum class Verdict {
  kDelivered,  // 2xx
  kRetry,      // no answer, 3xx, 408, 425, 429, 5xx and what HTTP does not know
  kSplit,      // 400, 413 or 422 of several events: some of them, or their number, are the cause
  kSetAside,   // another 4xx: the receiver will never take these events
  kEnd,        // 410: the receiver wants no more
};
Verdict VerdictOn(const HttpAnswer& answer, int events);

// Why it was not delivered, for people: "503 Service Unavailable: its body", "it redirects ...".
// One line, safe for a terminal.
std::string ReasonOf(const HttpAnswer& answer);

// The longest pause that a receiver can ask for.
inline constexpr absl::Duration kLongestRetryAfter = absl::Hours(1);

// How long a Retry-After asks to wait, in seconds or as an HTTP date: from zero to
// kLongestRetryAfter. nullopt: it is neither.
std::optional<absl::Duration> ParseRetryAfter(absl::string_view text, absl::Time now);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_PUSH_VERDICT_H_
