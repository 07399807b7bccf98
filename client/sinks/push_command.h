#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "client/connect/tls_options.h"
#include "client/sinks/follow_command.h"

namespace vmeventd::client {

struct PushSinkKind;
struct SinkTable;

enum class PushFormat { kCloudEvents, kJson, kTemplate };
// The name that --format accepts, such as "cloudevents".
absl::string_view NameOf(PushFormat format);

// `push`.
struct PushCommand {
  FollowCommand follow;  // where the push begins, the filter, and the sink's own options
  std::string url;       // empty: the first line of `url_file` is the URL
  std::string url_file;
  PushFormat format = PushFormat::kCloudEvents;
  std::string template_file;  // used with kTemplate
  TlsOptions tls;             // for the connection to the target
  bool insecure_http = false;
  const SinkTable* sinks = nullptr;  // the sinks that there are
  // The sink that the URL or an option chose; null: the URL is in a file.
  const PushSinkKind* sink = nullptr;
  std::string state_dir;   // empty: a directory below `state_home`, named after the target
  std::string state_home;  // empty: unknown
  std::string metrics_file;
  bool status = false;           // only shows the state of the push
  bool retry_set_aside = false;  // only asks the push to send again the events that it set aside
  bool test = false;             // sends one marked event instead, and shows the answer
  // Returns whether the command sends nothing itself.
  bool only_asks() const { return status || retry_set_aside; }
};

}  // namespace vmeventd::client
