#ifndef VMEVENTD_WATCHER_RUNS_EXIT_STATUS_SOURCE_H_
#define VMEVENTD_WATCHER_RUNS_EXIT_STATUS_SOURCE_H_

namespace vmeventd {

// Who reports how a process has ended that is no child of this one, once its parent has reaped it.
enum class ExitStatusSource {
  kNone,
  kPidfd,          // PIDFD_GET_INFO with PIDFD_INFO_EXIT: Linux 6.15, no privilege
  kProcConnector,  // netlink messages: CAP_NET_ADMIN in the host's own namespaces
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_RUNS_EXIT_STATUS_SOURCE_H_
