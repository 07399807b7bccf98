#pragma once

#include <fcntl.h>
#include <sys/types.h>

#include <cstdint>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "base/unique_fd.h"
#include "watcher/core/managers.h"
#include "watcher/core/run_info.h"

namespace vmeventd {

// Names a file while it exists. Two files that exist at different times may have the same.
using InodeKey = std::pair<dev_t, ino_t>;

inline InodeKey InodeOf(const SocketIdentity& socket) { return {socket.device, socket.inode}; }

// A socket's file as it was seen.
struct SeenSocket {
  SocketIdentity identity;
  uint32_t owner = 0;  // the file's user
};

// A socket's file, as opened for a connect that follows no link and reaches only this file.
struct SocketFile : SeenSocket {
  UniqueFd fd;  // O_PATH
};

// The functions below read file systems, which may hang: call them on a DirectoryThread.

// Opens the file at `path`. Returns 0 or the errno: ENOENT where nothing is there, ENOTSOCK for
// anything but a socket, links included.
int OpenSocketFile(absl::string_view path, SocketFile* file);

// Looks at the socket at `path`, from the descriptor `directory`, without opening it; the same
// errors.
int LookAtSocket(absl::string_view path, SeenSocket* seen, int directory = AT_FDCWD);

// Connects to it without waiting. Messages read from `connection` name their sender; read them
// through a ReceivingSocket. Returns 0 or the errno.
int ConnectTo(const SocketFile& file, UniqueFd* connection);

// Returns the manager that needs the monitor at `path`, after following links; null: none.
const Manager* OwnerOfFile(const std::string& path);

}  // namespace vmeventd
