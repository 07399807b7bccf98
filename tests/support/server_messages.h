#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "vmeventd/v1/vm_events.pb.h"

// Make messages of a server.

namespace vmeventd::client {

v1::Event MakeEvent(uint64_t sequence, const std::string& vm_name = "web1");
v1::Progress MakeProgress(uint64_t sequence, const std::string& journal_id = "journal-a");
v1::Vm MakeVm(const std::string& name);
v1::WatchEventsResponse ProgressMessage(uint64_t sequence,
                                        const std::string& journal_id = "journal-a");
v1::WatchEventsResponse EventsMessage(const std::vector<uint64_t>& sequences);

}  // namespace vmeventd::client
