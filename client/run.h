#ifndef VMEVENTD_CLIENT_RUN_H_
#define VMEVENTD_CLIENT_RUN_H_

#include <string>
#include <vector>

#include "client/connect/exit_code.h"
#include "client/options.h"

namespace vmeventd::client {

// The whole program behind main(): reads the arguments, does what they ask, prints to standard
// output and error. `color_allowed`: the environment does not forbid colour on a terminal. SIGPIPE
// must be ignored; called before any thread was made, because `watch` takes the signals that end
// it.
ExitCode Run(const std::vector<std::string>& arguments, const OptionContext& context,
             bool color_allowed);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_RUN_H_
