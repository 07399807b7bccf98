#include "client/run/pager.h"

#include <csignal>

namespace vmeventd::client {

FILE* StartPager() {
  // less ends at once if all fits the screen, passes colours on, cuts long lines, leaves the screen
  // as it is, and ends with Ctrl-C.
  constexpr char kCommand[] =
      "export LESS=\"${LESS-FRSXMK}\"; pager=${VMEVENTS_PAGER-${PAGER-$(command -v less)}}; "
      "trap : INT; eval \"${pager:-cat}\"";
  // The pager shall not ignore SIGPIPE, as vmevents does.
  const auto ignored = signal(SIGPIPE, SIG_DFL);
  FILE* const pager = popen(kCommand, "we");
  signal(SIGPIPE, ignored);
  // Ctrl-C is for the pager: if it ends the pager, the next write fails.
  if (pager != nullptr) signal(SIGINT, SIG_IGN);
  return pager;
}

}  // namespace vmeventd::client
