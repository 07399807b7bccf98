#ifndef VMEVENTD_WATCHER_QMP_SOCKET_RETRIES_H_
#define VMEVENTD_WATCHER_QMP_SOCKET_RETRIES_H_

#include "absl/time/time.h"

// When a SocketConnector tries a socket again.

namespace vmeventd {

inline constexpr absl::Duration kFirstRetry = absl::Milliseconds(1);
inline constexpr absl::Duration kMaxRetry = absl::Seconds(5);
// A socket file that a killed QEMU left refuses for ever.
inline constexpr absl::Duration kMaxRefusedRetry = absl::Seconds(60);
// After the end of a monitor that worked: mostly its process is about to go.
inline constexpr absl::Duration kFirstReconnect = absl::Milliseconds(100);
inline constexpr absl::Duration kFirstHeldRetry = absl::Seconds(1);
// A monitor that answered for so long has earned a quick reconnect.
inline constexpr absl::Duration kSteadyMonitor = absl::Seconds(10);

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_QMP_SOCKET_RETRIES_H_
