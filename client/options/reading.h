#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "client/options/binding.h"
#include "client/options/options.h"
#include "client/settings/contexts.h"

namespace vmeventd::client {

// Receives the values of a command line. CLI11 takes the options of the program itself before those
// of its command, wherever they stand: --utc counts for a time before it.
struct Reading {
  OptionContext context;
  TimeBase times;  // with the zone of --utc
  CommandLine line;
  TlsOptions tls;
  std::string credentials;
  std::string nats_domain;
};

// Defines all commands and options, with their help, for `reading`, which must outlive `app`.
void Define(CLI::App* app, Reading* reading);

// Sets the servers or the fleet of the line: from the options, the environment and the contexts.
// Checks whether they fit the command. `app` was parsed.
void ReadServers(const CLI::App& app, Reading* reading);

// The contexts of the configuration file; none if there is no file.
absl::StatusOr<Contexts> ReadContexts(const OptionContext& context);

}  // namespace vmeventd::client
