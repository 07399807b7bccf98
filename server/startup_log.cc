#include "server/startup_log.h"

#include <unistd.h>

#include "absl/strings/str_join.h"
#include "server/config/version.h"
#include "server/host/privileges.h"
#include "spdlog/spdlog.h"

namespace vmeventd {

void LogSetup(const Config& config, const std::vector<ListenerState>& listeners,
              const std::string& journal_id) {
  std::vector<std::string> addresses;
  addresses.reserve(listeners.size());
  for (const ListenerState& listener : listeners) addresses.push_back(listener.address.ToString());
  spdlog::info(
      "vmeventd {} started, pid {}; watching {}; listening on {}; state directory {}; journal {}",
      kVersion, getpid(), config.sources.text(), absl::StrJoin(addresses, ", "), config.state_dir,
      journal_id);
  if (config.sources.is_default()) {
    spdlog::info("{}; to follow other sources, set {}, for example {}", DefaultSourcesText(),
                 SourceNames(), ExampleLine());
  }
}

void LogMissing(const Config& config, v1::ExitStatusSource exit_statuses,
                const std::string& no_senders) {
  const bool needs_exit_statuses =
      config.process_tracking && exit_statuses == v1::EXIT_STATUS_SOURCE_NONE;
  for (const std::string& right : MissingRights(needs_exit_statuses)) {
    spdlog::warn("missing privilege: {}", right);
  }
  // Nobody misses what was switched off.
  if (!no_senders.empty() && config.process_tracking &&
      config.signal_senders != SignalSenders::kOff) {
    spdlog::warn("cannot see who sends signals to VMs, so a VM that is killed is UNKNOWN: {}",
                 no_senders);
  }
}

}  // namespace vmeventd
