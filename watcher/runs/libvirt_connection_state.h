#ifndef VMEVENTD_WATCHER_RUNS_LIBVIRT_CONNECTION_STATE_H_
#define VMEVENTD_WATCHER_RUNS_LIBVIRT_CONNECTION_STATE_H_

#include <string>

#include "absl/time/time.h"

namespace vmeventd {

// A connection to libvirt, as GetServerInfo lists it. Text is UTF-8.
struct LibvirtConnectionState {
  std::string uri;  // as connected to: a glob is resolved
  bool connected = false;
  std::string problem;  // for people; empty while connected
  absl::Time since;     // when `connected` last changed
  int domains = 0;      // that are followed through it
};

}  // namespace vmeventd

#endif  // VMEVENTD_WATCHER_RUNS_LIBVIRT_CONNECTION_STATE_H_
