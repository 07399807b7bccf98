#pragma once

#include <string>
#include <variant>
#include <vector>

#include "CLI/CLI.hpp"
#include "client/options/options.h"
#include "client/options/reading.h"

// The completion of a command line in a shell.

namespace vmeventd::client {

// The completion script of a shell, which calls `vmevents __complete`; `shell`: see Reading.
const char* CompletionScript(int shell);

// The command that the scripts run. Its arguments are the words before the cursor; the last one may
// be incomplete or empty.
inline constexpr char kCompleteCommand[] = "__complete";

// Completes the last of the words. Returns one line for each candidate, with a tab and its
// description; or the command whose output lists the candidates, such as the names of VMs. `app`
// must not have parsed anything.
std::variant<CommandLine, Answered> Complete(CLI::App* app, Reading* reading,
                                             std::vector<std::string> words);

}  // namespace vmeventd::client
