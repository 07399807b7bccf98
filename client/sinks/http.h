#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/connect/server_address.h"
#include "client/sinks/push_target.h"

// Requests of HTTP, by libcurl, which is loaded when it is first needed.

namespace vmeventd::client {

// Parses and checks the URL. What is not encrypted is for loopback, or with `insecure`.
// INVALID_ARGUMENT names the fault, without the path; FAILED_PRECONDITION: libcurl is missing.
absl::StatusOr<PushTarget> ParseHttpTarget(absl::string_view url, bool insecure);

// Result of a request.
struct HttpAnswer {
  int status = 0;                   // HTTP's; 0: the head of no answer came whole
  std::string fault = {};           // reason why not; safe for a terminal
  absl::Duration retry_after = {};  // time that its Retry-After, a number or a date, asks to wait
  std::string body = {};            // beginning of the body
  std::string redirection = {};     // scheme and host that a redirection points to
  bool stopped = false;             // a stop broke it off
};

// POSTs a body with these headers, which are lines without their ends.
using HttpPost =
    std::function<HttpAnswer(const std::string& body, const std::vector<std::string>& headers)>;

// POSTs to one URL over connections that are used again. Follows no redirection. Without a CA the
// system's authorities count; TLS files are read as each connection begins, so that they may be
// replaced. A request that is under way at a stop has 5 s to end. One thread; the first call of a
// process, as ParseHttpTarget(), precedes any other thread. FAILED_PRECONDITION: libcurl is
// missing: it brings 26 libraries, which every command would load.
absl::StatusOr<HttpPost> MakeHttpPost(const std::string& url, const TlsOptions& tls,
                                      absl::Duration timeout, std::stop_token stop);

// The result for people: why it was not delivered, or what a receiver that took it said. One line,
// safe for a terminal.
std::string ReasonOf(const HttpAnswer& answer);

}  // namespace vmeventd::client
