#include "tests/support/unix_socket.h"

#include <sys/socket.h>
#include <unistd.h>

#include "absl/status/statusor.h"
#include "base/unix_address.h"
#include "tests/support/fail.h"

namespace vmeventd::e2e {
namespace {

int NewSocket(int flags = 0) {
  const int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
  if (descriptor < 0) FailErrno("no socket");
  return descriptor;
}

}  // namespace

int ConnectUnix(const std::string& path) {
  const absl::StatusOr<UnixAddress> address = UnixAddress::Open(path);
  const int descriptor = NewSocket();
  if (address.ok() && address->Connect(descriptor) == 0) return descriptor;
  close(descriptor);
  return -1;
}

void NudgeUnix(const std::string& path) {
  const absl::StatusOr<UnixAddress> address = UnixAddress::Open(path);
  const int descriptor = NewSocket(SOCK_NONBLOCK);
  if (address.ok()) static_cast<void>(address->Connect(descriptor));
  close(descriptor);
}

int ListenUnix(const std::string& path) {
  const absl::StatusOr<UnixAddress> address = UnixAddress::Open(path);
  const int descriptor = NewSocket();
  if (!address.ok() || address->Bind(descriptor) != 0 || listen(descriptor, SOMAXCONN) != 0) {
    FailErrno("listening at " + path);
  }
  return descriptor;
}

}  // namespace vmeventd::e2e
