#ifndef VMEVENTD_CLIENT_RUN_DIAGNOSE_H_
#define VMEVENTD_CLIENT_RUN_DIAGNOSE_H_

#include "client/connect/exit_code.h"
#include "client/options/options.h"
#include "client/output/output.h"
#include "client/run/terminal.h"

namespace vmeventd::client {

// `doctor`: prints what is wrong on this node, and fails where anything is.
ExitCode RunDoctor(const CommandLine& line, const Terminal& terminal, Output* output);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_RUN_DIAGNOSE_H_
