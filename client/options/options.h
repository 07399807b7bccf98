#pragma once

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/connect/failure.h"
#include "client/options/command_line.h"

// Parses the command line.

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

// The answer to a command line that runs no command: --help, --version or an error.
struct Answered {
  ExitCode code = ExitCode::kOk;
  std::string out;  // text for standard output
  std::string err;  // text for standard error: a sentence, safe for a terminal
};

// `arguments` do not include the program's name. Pure, except for the context's functions.
std::variant<CommandLine, Answered> ParseCommandLine(const std::vector<std::string>& arguments,
                                                     const OptionContext& context);

// Values of a command's options and arguments: {"since", "1h"}. The value of a flag is "true".
using OptionValues = std::vector<std::pair<std::string, std::string>>;

// The options and arguments of a command, by their names without dashes.
enum class OptionKind { kWithValue, kFlag };
const std::map<std::string, OptionKind>& OptionKinds(const std::string& command);

// Parses the values that a query has for a command, which is asked of these servers and answers in
// JSON. Each name must be one of OptionKinds(). INVALID_ARGUMENT: a sentence that names options
// without dashes. Pure.
absl::StatusOr<CommandLine> ParseQuery(const std::string& command, const OptionValues& values,
                                       const Servers& servers, OptionContext context);

}  // namespace vmeventd::client
