#pragma once

#include <map>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/statusor.h"
#include "client/connect/failure.h"
#include "client/options/command_line.h"
#include "client/options/option_context.h"

// Parses the command line.

namespace vmeventd::client {

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
