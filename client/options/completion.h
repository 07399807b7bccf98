#ifndef VMEVENTD_CLIENT_OPTIONS_COMPLETION_H_
#define VMEVENTD_CLIENT_OPTIONS_COMPLETION_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace CLI {
class App;
}  // namespace CLI

namespace vmeventd::client {

// The command that the shells' scripts run: its arguments are the words before the cursor, of which
// the last may be incomplete or empty.
inline constexpr char kCompleteCommand[] = "__complete";

// The script for bash, zsh or fish, which asks `vmevents __complete`; none for another shell.
std::optional<std::string> CompletionScript(absl::string_view shell);

// The values of an option or an argument, as typed: "guest-down". `name` is that of the option, or
// the name that the help gives its value. Empty: any text.
std::vector<std::string> ValuesOf(const std::string& name);

// Candidates for the word at the cursor.
struct Completions {
  std::string lines;  // one candidate a line, a tab and its description after it
  // The command whose output lists more, such as the names of VMs; empty: none.
  std::vector<std::string> command;
};

// Follows from the option table. `app` has parsed nothing. Pure.
Completions Complete(const CLI::App& app, const std::vector<std::string>& words);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OPTIONS_COMPLETION_H_
