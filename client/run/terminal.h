#ifndef VMEVENTD_CLIENT_RUN_TERMINAL_H_
#define VMEVENTD_CLIENT_RUN_TERMINAL_H_

#include <optional>
#include <string>

#include "client/options/options.h"

namespace vmeventd::client {

// What the environment says of terminals.
struct Terminal {
  bool color_allowed = false;               // colour, on a terminal
  std::optional<std::string> own_pager;     // $VMEVENTS_PAGER
  std::optional<std::string> common_pager;  // $PAGER
};

// Whether standard output gets colours.
bool HasColor(const CommandLine& line, const Terminal& terminal);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_RUN_TERMINAL_H_
