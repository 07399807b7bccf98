#include "client/output/output.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"

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

absl::Status DescriptorOutput::Write(absl::string_view text) {
  const int error = WriteFully(descriptor_, text);
  if (error == 0) return absl::OkStatus();
  if (error == EPIPE) return absl::CancelledError("the reader of the output has closed it");
  return absl::UnavailableError(absl::StrCat("cannot write to standard output: ", strerror(error)));
}

}  // namespace vmeventd::client
