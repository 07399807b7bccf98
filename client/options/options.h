#pragma once

#include <functional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/options/command_line.h"

// The command line, parsed.

namespace vmeventd::client {

// Inputs of the parser besides the arguments.
struct OptionContext {
  // The value of an environment variable; empty: it is not set.
  std::function<std::string(const char* name)> variable = [](const char* /*name*/) { return ""; };
  std::string user;  // $SUDO_USER, else $USER, else by the uid
  unsigned uid = 0;
  // Reads the configuration file.
  std::function<absl::StatusOr<std::string>(const std::string& path)> read_config;
  // Returns whether a path exists, or may exist: see DefaultServerAddress().
  std::function<bool(const std::string& path)> may_exist;
  absl::Time now;
  absl::Time boot = absl::InfinitePast();  // of this host; InfinitePast: not known
  absl::TimeZone zone;
};

// The command line is already answered: by --help, --version or a complaint.
struct Answered {
  ExitCode code = ExitCode::kOk;
  std::string out;      // text for standard output
  std::string err;      // text for standard error: a sentence, safe for a terminal
  std::string fault{};  // of a command line that is wrong: the sentence without where to look
};

// `arguments` without the program's name. Pure, but for the context's functions.
std::variant<CommandLine, Answered> ParseCommandLine(const std::vector<std::string>& arguments,
                                                     const OptionContext& context);

}  // namespace vmeventd::client
