#pragma once

#include <string>
#include <vector>

#include "server/config/config.h"
#include "server/transport/connection_acceptor.h"
#include "vmeventd/v1/vm_events.pb.h"

// The log lines of a daemon that has started.

namespace vmeventd {

// Logs what the daemon follows, and where it listens.
void LogSetup(const Config& config, const std::vector<ListenerState>& listeners,
              const std::string& journal_id);

// Warns of what the daemon will not see. `no_senders`: why it sees no senders of signals; empty: it
// sees them.
void LogMissing(const Config& config, v1::ExitStatusSource exit_statuses,
                const std::string& no_senders);

}  // namespace vmeventd
