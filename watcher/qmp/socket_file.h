#pragma once

#include <sys/types.h>

#include <cstdint>
#include <utility>

#include "absl/strings/string_view.h"
#include "base/system.h"
#include "watcher/core/run_info.h"

namespace vmeventd {

// Names a file while it exists. Two files that exist at different times may have the same.
using InodeKey = std::pair<dev_t, ino_t>;

inline InodeKey InodeOf(const SocketIdentity& socket) { return {socket.device, socket.inode}; }

// A socket's file, as opened for a connect that follows no link and reaches this file alone.
struct SocketFile {
  UniqueFd fd;  // O_PATH
  SocketIdentity identity;
  uint32_t owner = 0;  // the file's user
};

// Opens the file at `path`. Returns 0 or the errno: ENOENT where nothing is there, ENOTSOCK for
// anything but a socket, links included.
int OpenSocketFile(absl::string_view path, SocketFile* file);

// Identifies the socket at `path` without opening it; the same errors.
int IdentifySocket(absl::string_view path, SocketIdentity* identity);

// Connects to it without waiting. Messages read from `connection` name their sender; read them
// through a ReceivingSocket. Returns 0 or the errno.
int ConnectTo(const SocketFile& file, UniqueFd* connection);

// Outcome of an attempt to connect.
enum class ConnectOutcome {
  kConnected,
  kNoSocket,          // nothing is there, or no socket
  kRefused,           // nobody listens
  kQueueFull,         // somebody listens, and its queue of connections is full
  kOutOfDescriptors,  // out of memory included
  kFailed,            // anything else
};

ConnectOutcome ConnectOutcomeOf(int error);

}  // namespace vmeventd
