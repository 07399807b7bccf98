#pragma once

#include <cstdio>

namespace vmeventd::client {

// Starts, by a shell, $VMEVENTS_PAGER if it is set, else $PAGER, else `less` if it is installed,
// else `cat`. pclose() closes the pager's input and waits for it; its exit status is 126 or 127 if
// nothing was shown. From then on this process ignores SIGINT. Null: it could not be started.
FILE* StartPager();

}  // namespace vmeventd::client
