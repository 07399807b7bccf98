#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/connect/server_address.h"
#include "client/push/request.h"

namespace vmeventd::client {

struct HttpOptions {
  std::string url;
  TlsOptions tls;  // no CA: the system's authorities count; server_name is not used
  absl::Duration timeout = absl::Seconds(30);  // timeout of a whole request
};

// POSTs a body with these headers, which are lines without their ends.
using HttpPost =
    std::function<HttpAnswer(const std::string& body, const std::vector<std::string>& headers)>;

// The edge to libcurl: POSTs to one URL over connections that it keeps. Follows no redirection.
// Reads the TLS files as each connection begins, so that they may be replaced. A request that is
// under way at a stop has 5 s to end. One thread.
absl::StatusOr<HttpPost> MakeHttpPost(HttpOptions options, std::stop_token stop);

}  // namespace vmeventd::client
