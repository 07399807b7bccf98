#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/connect/server_address.h"
#include "client/sinks/follow_command.h"

namespace vmeventd::client {

enum class PushFormat { kCloudEvents, kJson, kTemplate };
// "cloudevents" and so on, as --format takes it.
absl::string_view NameOf(PushFormat format);

// `push`.
struct PushCommand {
  FollowCommand follow;  // holds where it begins, and the filter
  std::string url;       // empty: the first line of `url_file` has it
  std::string url_file;
  PushFormat format = PushFormat::kCloudEvents;
  std::string template_file;                   // of kTemplate
  size_t batch = 100;                          // events of a request
  absl::Duration timeout = absl::Seconds(30);  // timeout of a request
  std::string secret_file;                     // empty: requests have no signature
  std::string header_file;                     // file with more headers; empty: none
  TlsOptions tls;                              // the target's
  // Into a fleet's stream:
  std::string cluster;      // of the node
  std::string credentials;  // a file; empty: none
  std::string domain;       // JetStream's; empty: the servers' own
  bool insecure_http = false;
  std::string state_dir;   // empty: below `state_home`, by the target
  std::string state_home;  // empty: there is none
  std::string metrics_file;
  bool status = false;           // shows what the push last did
  bool retry_set_aside = false;  // has what was set aside sent again
  bool test = false;             // sends one marked event instead, and shows the answer
  // Sends nothing itself.
  bool only_asks() const { return status || retry_set_aside; }
};

}  // namespace vmeventd::client
