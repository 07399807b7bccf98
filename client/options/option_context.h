#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace vmeventd::client {

// Inputs of the parser in addition to the arguments.
struct OptionContext {
  // Returns the value of an environment variable; empty: it is not set.
  std::function<std::string(const char* name)> variable = [](const char* /*name*/) { return ""; };
  std::string user;  // $SUDO_USER, else $USER, else the name that belongs to the uid
  unsigned uid = 0;
  // Reads the configuration file.
  std::function<absl::StatusOr<std::string>(const std::string& path)> read_config;
  // Returns whether a path exists, or may exist: see DefaultServerAddress().
  std::function<bool(const std::string& path)> may_exist;
  absl::Time now;
  absl::Time boot = absl::InfinitePast();  // time of this host's boot; InfinitePast: not known
  absl::TimeZone zone;
  std::string dashes = "--";  // before an option's name in a sentence; empty for ParseQuery()
};

}  // namespace vmeventd::client
