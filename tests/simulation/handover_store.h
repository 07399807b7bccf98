#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "server/eventlog/handed_log.h"

namespace vmeventd::simulation {

// The service manager's store for a stopped daemon, as in server/handover.h: runs as texts, and
// their descriptors.
struct HandoverStore {
  struct Run {
    std::string text;
    int connection = -1;  // -1: libvirt reports it
    int process = -1;     // -1: the process is not tracked
  };
  std::optional<HandedLog> log;  // unset: nothing is stored
  std::vector<Run> runs;
  int daemon = 0;  // number of the daemon that stopped

  std::set<std::string> RunIds() const;
};

}  // namespace vmeventd::simulation
