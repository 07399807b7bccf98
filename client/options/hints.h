#ifndef VMEVENTD_CLIENT_OPTIONS_HINTS_H_
#define VMEVENTD_CLIENT_OPTIONS_HINTS_H_

#include <string>

#include "absl/strings/string_view.h"

namespace CLI {
class App;
}  // namespace CLI

namespace vmeventd::client {

// Both complete a complaint, as "; did you mean --since?" does: with this program's name for what
// kubectl, journalctl, virsh and docker call so, or with one that is spelled alike. Empty: nothing
// comes close. Pure.

// For a word that `command` does not know.
std::string HintFor(const CLI::App& command, absl::string_view typed);
// For a value that the option does not take.
std::string HintForValue(const std::string& option, absl::string_view typed);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OPTIONS_HINTS_H_
