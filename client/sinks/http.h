#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/connect/tls_options.h"
#include "client/sinks/push_target.h"

// HTTP requests. Uses libcurl, which is loaded when it is first needed.

namespace vmeventd::client {

// Parses and checks the URL. An unencrypted URL is accepted only for loopback, or if `insecure`.
// INVALID_ARGUMENT names the fault, without the path; FAILED_PRECONDITION: libcurl is missing.
absl::StatusOr<PushTarget> ParseHttpTarget(absl::string_view url, bool insecure);

// Result of a request.
struct HttpAnswer {
  int status = 0;                   // HTTP status; 0: no complete head of an answer arrived
  std::string fault = {};           // why no answer arrived; safe for a terminal
  absl::Duration retry_after = {};  // time to wait, from Retry-After (a number or a date)
  std::string body = {};            // the beginning of the answer's body
  std::string redirection = {};     // scheme and host of a redirection's target
  bool stopped = false;             // a stop aborted the request
};

// POSTs a body with these headers, which are lines without line ends.
using HttpPost =
    std::function<HttpAnswer(const std::string& body, const std::vector<std::string>& headers)>;

// Returns a function that POSTs to one URL. It reuses connections and does not follow redirections.
// Without a CA, the system's authorities are trusted. TLS files are read at the start of each
// connection, so they may be replaced. At a stop, a running request has 5 s to end. One thread. The
// process's first call of this or of ParseHttpTarget() must come before any other thread starts.
// FAILED_PRECONDITION: libcurl is missing. It is not linked because every command would then load
// its 26 libraries.
absl::StatusOr<HttpPost> MakeHttpPost(const std::string& url, const TlsOptions& tls,
                                      absl::Duration timeout, std::stop_token stop);

// The result for people: why the request was not delivered, or the answer of a receiver that
// accepted it. One line, safe for a terminal.
std::string ReasonOf(const HttpAnswer& answer);

}  // namespace vmeventd::client
