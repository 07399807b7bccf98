#ifndef VMEVENTD_CLIENT_RUN_H_
#define VMEVENTD_CLIENT_RUN_H_

#include <string>
#include <vector>

#include "client/connect/exit_code.h"
#include "client/options.h"

namespace vmeventd::client {

// The whole program behind main(): parses the arguments, runs the command, prints to standard
// output and error. `color_allowed`: the environment permits colour on a terminal. The caller must
// ignore SIGPIPE, and call this before any thread starts, because `watch` blocks the signals that
// end it.
ExitCode Run(const std::vector<std::string>& arguments, const OptionContext& context,
             bool color_allowed);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_RUN_H_
