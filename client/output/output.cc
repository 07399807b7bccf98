#include "client/output/output.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace vmeventd::client {

absl::Status DescriptorOutput::Write(absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(descriptor_, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
      continue;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN) {
      // Another process that shares the descriptor may have made it non-blocking.
      pollfd waiting = {descriptor_, POLLOUT, 0};
      poll(&waiting, 1, -1);
      continue;
    }
    if (errno == EPIPE) return absl::CancelledError("the reader of the output has gone");
    return absl::UnavailableError(
        absl::StrCat("cannot write to standard output: ", strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace vmeventd::client
