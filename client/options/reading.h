#pragma once

#include <string>

#include "client/options/access.h"
#include "client/options/command_line.h"
#include "client/options/option_context.h"

// The values of the options of a command line.

namespace vmeventd::client {

// Receives the values of a command line. CLI11 handles the options of the program itself before
// those of its command, in any order on the line, so that --utc also applies to a time that comes
// before it.
struct Reading {
  OptionContext context;  // its zone is UTC after --utc
  CommandLine line;
  Access access;
  std::string context_name;  // value of --context
  int shell = 0;             // argument of `completion`, as an index of ValuesOf("SHELL")
};

}  // namespace vmeventd::client
