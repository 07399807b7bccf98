#ifndef VMEVENTD_CLIENT_RUN_RUN_H_
#define VMEVENTD_CLIENT_RUN_RUN_H_

#include <string>
#include <vector>

#include "client/connect/failure.h"
#include "client/options/options.h"
#include "client/run/terminal.h"

namespace vmeventd::client {

// The whole program behind main(): parses the arguments, runs the command, prints to standard
// output and error. The caller must ignore SIGPIPE, and call this before any thread starts, because
// `watch` blocks the signals that end it.
ExitCode Run(const std::vector<std::string>& arguments, const OptionContext& context,
             const Terminal& terminal);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_RUN_RUN_H_
