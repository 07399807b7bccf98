#ifndef VMEVENTD_SERVER_LISTEN_SOCKET_H_
#define VMEVENTD_SERVER_LISTEN_SOCKET_H_

#include "absl/status/status.h"
#include "server/listen_address.h"

// What must hold of an address before gRPC binds it: gRPC would replace another process's socket
// without a word, and says nothing of why a bind failed.

namespace vmeventd {

// Makes the socket's directory (0750) where it is missing.
absl::Status MakeSocketDirectory(const ListenAddress& address);

// Removes a stale Unix socket. FAILED_PRECONDITION: something else is in the way: a process that
// listens there, a file that is no socket, a port in use. Hold the socket's lock file.
absl::Status PrepareListenAddress(const ListenAddress& address);

}  // namespace vmeventd

#endif  // VMEVENTD_SERVER_LISTEN_SOCKET_H_
