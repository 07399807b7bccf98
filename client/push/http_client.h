#ifndef VMEVENTD_CLIENT_PUSH_HTTP_CLIENT_H_
#define VMEVENTD_CLIENT_PUSH_HTTP_CLIENT_H_

#include <cstddef>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/connect/server_address.h"
#include "client/push/request.h"

namespace vmeventd::client {

// The edge to libcurl: POSTs to one URL over connections that it keeps. Follows no redirection.
// One thread.
class HttpClient {
 public:
  static constexpr absl::Duration kLongestConnect = absl::Seconds(10);
  // A request that is under way at a stop has so long to end.
  static constexpr absl::Duration kStopGrace = absl::Seconds(5);
  static constexpr size_t kMostHeaderBytes = 64 << 10;  // of an answer
  static constexpr size_t kMostBodyBytes = 64 << 10;    // that are read
  static constexpr size_t kMostKept = 1 << 10;          // of the body

  struct Options {
    std::string url;
    TlsOptions tls;  // without a CA the system's authorities count; server_name is not used
    absl::Duration timeout = absl::Seconds(30);  // of a whole request
  };
  // Reads the TLS files as each connection begins, so that they may be replaced.
  static absl::StatusOr<std::unique_ptr<HttpClient>> Create(Options options);
  virtual ~HttpClient() = default;

  // `headers` are lines without their ends.
  virtual HttpAnswer Post(const std::string& body, const std::vector<std::string>& headers,
                          const std::stop_token& stop) = 0;
};

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_PUSH_HTTP_CLIENT_H_
