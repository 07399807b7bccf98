#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/connect/server_address.h"

// The edge to libcurl, which is loaded when a push needs it: it brings 26 libraries, which every
// command would load.

namespace vmeventd::client {

// Destination of the events. The path and the query of its URL may be a secret, as Slack's are.
struct PushTarget {
  std::vector<std::string> nats;  // NATS servers of a fleet, instead of `url`
  std::string url;
  std::string shown;  // "https://hooks.example", safe for a terminal and without the secret
  std::string key;    // the name of its state directory: the host, and a hash of the URL
};

// Parses and checks the URL: of NATS servers, or by libcurl. What is not encrypted
// is for loopback, or with `insecure`. INVALID_ARGUMENT names the fault, without the path;
// FAILED_PRECONDITION: libcurl is missing.
absl::StatusOr<PushTarget> ParsePushTarget(absl::string_view url, bool insecure);

// Result of a request.
struct HttpAnswer {
  int status = 0;                   // HTTP's; 0: no complete answer came
  std::string fault = {};           // reason why not; safe for a terminal
  absl::Duration retry_after = {};  // time that its Retry-After, a number or a date, asks to wait
  std::string body = {};            // beginning of the body
  bool stopped = false;             // a stop broke it off
};

struct HttpOptions {
  std::string url;
  TlsOptions tls;  // no CA: the system's authorities count; server_name is not used
  absl::Duration timeout = absl::Seconds(30);  // timeout of a whole request
};

// POSTs a body with these headers, which are lines without their ends.
using HttpPost =
    std::function<HttpAnswer(const std::string& body, const std::vector<std::string>& headers)>;

// POSTs to one URL over connections that are used again. Follows no redirection. Reads the TLS
// files as each connection begins, so that they may be replaced. A request that is under way at a
// stop has 5 s to end. One thread; the first call of a process, as ParsePushTarget(), precedes any
// other thread. FAILED_PRECONDITION: libcurl is missing.
absl::StatusOr<HttpPost> MakeHttpPost(const HttpOptions& options, std::stop_token stop);

}  // namespace vmeventd::client
