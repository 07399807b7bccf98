#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/unique_fd.h"
#include "base/unix_address.h"
#include "client/connect/probe.h"
#include "client/output/write_fully.h"
#include "client/run/console.h"
#include "client/run/run.h"

namespace vmeventd::client {
namespace {

// Copies the bytes that are available. False: the end of the input, or an error.
bool CopySome(int from, int to) {
  char buffer[64 << 10];
  const ssize_t size = read(from, buffer, sizeof(buffer));
  if (size < 0 && errno == EINTR) return true;
  if (size <= 0) return false;
  return WriteFully(to, absl::string_view(buffer, static_cast<size_t>(size))) == 0;
}

}  // namespace

ExitCode RunProxy(const CommandLine& line) {
  if (line.servers.addresses.size() != 1 || !line.servers.first().is_unix()) {
    return Fail(
        Failure{ExitCode::kUsage, absl::StrCat("proxy: it connects to one Unix socket of this host",
                                               line.origin.empty() ? "" : ", and ", line.origin,
                                               line.origin.empty() ? "" : " names other servers",
                                               "; name it with --server unix:PATH")});
  }
  const ServerAddress& server = line.servers.first();
  const UniqueFd daemon(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const auto address = UnixAddress::Open(server.path);
  if (!address.ok() || !daemon.valid() || address->Connect(daemon.get()) != 0) {
    return Fail(Failure{ExitCode::kUnreachable, Probe(server).why});
  }
  pollfd watched[] = {{STDIN_FILENO, POLLIN, 0}, {daemon.get(), POLLIN, 0}};
  while (true) {
    if (poll(watched, 2, -1) < 0 && errno != EINTR) return ExitCode::kFailed;
    if (watched[0].revents != 0 && !CopySome(STDIN_FILENO, daemon.get())) return ExitCode::kOk;
    if (watched[1].revents != 0 && !CopySome(daemon.get(), STDOUT_FILENO)) return ExitCode::kOk;
  }
}

}  // namespace vmeventd::client
