#include "client/output/write_fully.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>

namespace vmeventd::client {

int WriteFully(int descriptor, absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(descriptor, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN) {
      // Another process that shares the descriptor may have made it non-blocking.
      pollfd waiting = {descriptor, POLLOUT, 0};
      poll(&waiting, 1, -1);
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

}  // namespace vmeventd::client
