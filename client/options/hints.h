#pragma once

#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/string_view.h"

// Proposals for a word that the program does not know.

namespace vmeventd::client {

// The subcommands of a command, or of the program, that its help shows.
std::vector<const CLI::App*> CommandsOf(const CLI::App& app);
// The names of a command's options.
std::vector<std::string> OptionsOf(const CLI::App& app);

// Completes the error about a word that `command` does not know, such as "; did you mean --since?".
// Proposes this program's name for a word of kubectl, journalctl, virsh or docker, or a name with a
// similar spelling, or `vmevents why` for a word that may be a VM's name. Empty: no name is
// similar.
std::string HintFor(const CLI::App& command, absl::string_view typed);

}  // namespace vmeventd::client
