#pragma once

#include <map>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "client/options/option_context.h"

// The contexts of the configuration file: servers by name, and how to log in to them.

namespace vmeventd::client {

// Values for options that are not given, keyed by the option.
using Settings = std::map<std::string, std::vector<std::string>>;

// The configuration file. Paths in it are relative to its directory:
//   current = "prod"
//   [contexts.prod]
//   servers = ["node1", "node2:9555"]    # or one text
//   tls-ca = "ca.pem"                    # and so on, as in kAccessOptions
struct Contexts {
  std::string path;     // path of the file, or a text that there is none
  std::string current;  // empty: none
  // Contexts by name; an error: what is wrong with the context.
  std::map<std::string, absl::StatusOr<Settings>> named;
};
// Reads the configuration file that `context` names; without a file the result is empty. Throws if
// $VMEVENTS_CONFIG names a missing file. A fault in one context does not affect the others.
Contexts ReadContexts(const CLI::App& app, const OptionContext& context);

}  // namespace vmeventd::client
