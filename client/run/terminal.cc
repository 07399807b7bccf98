#include "client/run/terminal.h"

#include <unistd.h>

namespace vmeventd::client {

bool HasColor(const CommandLine& line, const Terminal& terminal) {
  return line.color == ColorMode::kAlways ||
         (line.color == ColorMode::kAuto && terminal.color_allowed && isatty(STDOUT_FILENO) == 1);
}

}  // namespace vmeventd::client
