#pragma once

#include "base/unique_fd.h"

namespace vmeventd {

// A socket that is readable after a processor, or a bank of memory, of the host came or went: of
// the kernel's uevents these alone wake its reader. It needs no right. Invalid: errno says why.
UniqueFd ListenForProcessors();

// Takes what is readable there. Whether that was anything.
bool TakeProcessorNews(int socket);

}  // namespace vmeventd
