#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "server/config/config.h"

// Reads the flags and the configuration file.

namespace vmeventd {

// The source of the defaults of listens and state_dir.
struct Environment {
  unsigned uid = 0;
  std::function<std::string(const char*)> variable;  // its value is empty if not set
};
Environment SystemEnvironment();
Config DefaultConfig(const Environment& environment);

// Either a configuration to run with, or the text to print and the exit code: 0 for --help,
// --version and --check-config, 2 for wrong usage, 1 if something that the flags name on this host
// cannot be used now: the configuration file, a group, TLS files. The text names the flag, the
// value and the rule. --check-config treats both as wrong usage.
struct ParsedConfig {
  std::optional<Config> config;
  int exit_code = 0;
  std::string text;
};

ParsedConfig ParseConfig(const std::vector<std::string>& arguments, const Environment& environment);

}  // namespace vmeventd
