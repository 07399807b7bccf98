#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/support/proto_text.h"
#include "watcher/node/node_watcher.h"
#include "watcher/runs/handed_run.h"
#include "watcher/runs/watcher_counters.h"

namespace vmeventd {

// A watcher that follows nothing, and reports the state that the test sets.
class FakeWatcher : public NodeWatcher {
 public:
  void RunOnce(absl::Duration) override {}
  void Wake() override {}
  void PublishRest() override {}
  std::optional<OpenRuns> HandOver() override { return OpenRuns(); }
  int exit_status_socket() const override { return -1; }
  void DeclareIntent(IntentRequest, std::function<void(absl::StatusOr<v1::Intent>)>) override {}
  void WithdrawIntent(std::string, std::function<void(absl::Status)>) override {}
  v1::GetServerInfoResponse Describe() const override { return info; }
  bool first_scan_done() const override { return true; }
  std::vector<std::string> Troubles() const override { return {}; }
  bool waits() const override { return false; }
  std::vector<ServiceHealth> Health() const override {
    return {{"sources", true}, {"watch", true}, {"libvirt", true}};
  }
  WatcherCounters counters() const override { return counted; }

  WatcherCounters counted;
  v1::GetServerInfoResponse info = FromText<v1::GetServerInfoResponse>(R"(
      exit_status_source: EXIT_STATUS_SOURCE_PIDFD
      signal_senders { active: true }
      host_shutdown { active: true shutting_down: true })");
};

}  // namespace vmeventd
