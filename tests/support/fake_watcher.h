#pragma once

#include <functional>
#include <string>
#include <vector>

#include "watcher/node/node_watcher.h"
#include "watcher/runs/run_restorer.h"

namespace vmeventd {

// A watcher of nothing, which says of itself what the test sets.
class FakeWatcher : public NodeWatcher {
 public:
  void RunOnce(absl::Duration) override {}
  void Wake() override {}
  std::optional<OpenRuns> HandOver() override { return OpenRuns(); }
  int exit_status_socket() const override { return -1; }
  void PublishRunsAgain() override {}
  void DeclareIntent(IntentRequest, std::function<void(absl::StatusOr<Intent>)>) override {}
  void WithdrawIntent(std::string, std::function<void(absl::Status)>) override {}
  std::string exit_status_source() const override { return "pidfd"; }
  SignalWatchState signal_senders() const override { return {true, "processor 9"}; }
  HostShutdownState host_shutdown() const override { return {true, true, "systemd-logind", ""}; }
  bool first_scan_done() const override { return true; }
  bool has_open_source() const override { return true; }
  bool reaches_all_libvirts() const override { return true; }
  bool libvirt_waits() const override { return false; }
  std::vector<UnfollowedSocket> unfollowed_sockets() const override { return {}; }
  std::vector<LibvirtConnectionState> libvirt_connections() const override { return libvirts; }
  WatcherCounters counters() const override { return counted; }

  WatcherCounters counted;
  std::vector<LibvirtConnectionState> libvirts;
};

}  // namespace vmeventd
