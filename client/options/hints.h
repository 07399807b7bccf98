#ifndef VMEVENTD_CLIENT_OPTIONS_HINTS_H_
#define VMEVENTD_CLIENT_OPTIONS_HINTS_H_

#include <string>

#include "absl/strings/string_view.h"

namespace CLI {
class App;
}  // namespace CLI

namespace vmeventd::client {

// "; did you mean --since?" for a word that `command` does not know: its own name for what kubectl,
// journalctl and virsh call so, or a name that is spelled alike. Empty: nothing comes close. Pure.
std::string HintFor(const CLI::App& command, absl::string_view typed);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_OPTIONS_HINTS_H_
