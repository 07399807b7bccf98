#include "watcher/qmp/silent_monitors.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/status/statusor.h"
#include "watcher/runs/process.h"
#include "watcher/session/vm_session.h"

namespace vmeventd {
namespace {

constexpr char kStopped[] = "QEMU is stopped by a signal: it answers nobody on its monitor";
constexpr char kHeld[] = "monitor held by another client: it sent no greeting";
constexpr char kHangs[] = "QEMU hangs: it accepts no connection on its monitor";

// The path that the peer bound, which need not be the one that led to it.
std::string PeerPath(int connection) {
  sockaddr_un address = {};
  socklen_t size = sizeof(address);
  if (getpeername(connection, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "";
  const size_t length = std::min<size_t>(size, sizeof(address));
  if (length <= offsetof(sockaddr_un, sun_path)) return "";
  const size_t longest = length - offsetof(sockaddr_un, sun_path);
  const char* const path = address.sun_path;
  return {path, std::find(path, path + longest, '\0')};
}

}  // namespace

SilentMonitors::Clients SilentMonitors::ClientsOf(int connection) const {
  Clients clients;
  const std::string path = PeerPath(connection);
  struct stat own = {};
  if (path.empty() || fstat(connection, &own) != 0) return clients;
  const auto at_path = std::equal_range(
      sockets_.begin(), sockets_.end(), UnixSocket{.path = path},
      [](const UnixSocket& left, const UnixSocket& right) { return left.path < right.path; });
  for (auto it = at_path.first; it != at_path.second; ++it) {
    if (it->listening) {
      // Two that listen there: which clients are whose is not known.
      if (std::exchange(clients.listening, true)) return {};
    } else if (it->peer == own.st_ino) {
      clients.ours = true;
    } else if (it->peer != 0) {
      clients.accepted = true;
    }
  }
  return clients;
}

SilentMonitors::Reason SilentMonitors::Explain(int connection, int64_t pid, absl::Duration now,
                                               absl::Duration waited) {
  constexpr Reason kUnknown = {VmSession::kNoGreeting, true};
  if (pid != 0 && IsStopped(pid)) return {kStopped, false};
  if (read_at_ < now - waited) {
    absl::StatusOr<std::vector<UnixSocket>> sockets = ReadUnixSockets();
    if (!sockets.ok()) return kUnknown;  // the kernel has no unix_diag
    sockets_ = *std::move(sockets);
    std::erase_if(sockets_, [](const UnixSocket& socket) { return socket.path.empty(); });
    std::sort(
        sockets_.begin(), sockets_.end(),
        [](const UnixSocket& left, const UnixSocket& right) { return left.path < right.path; });
    read_at_ = now;
  }
  const Clients clients = ClientsOf(connection);
  if (!clients.listening || clients.ours) return kUnknown;
  return clients.accepted ? Reason{kHeld, false} : Reason{kHangs, true};
}

}  // namespace vmeventd
