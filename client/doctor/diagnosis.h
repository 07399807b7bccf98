#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "client/connect/probe.h"
#include "client/connect/server_address.h"
#include "client/doctor/finding.h"
#include "client/doctor/node_facts.h"

// Finds the faults of a node from the facts that were read there. Pure.

namespace vmeventd::client {

struct Diagnosis {
  std::string asked;      // the daemon that was asked, and whether it answered
  bool examined = false;  // see NodeFacts
  size_t qemus = 0;
  size_t followed = 0;
  size_t followed_elsewhere = 0;  // followed by a vmeventd other than the one that was asked
  size_t usable = 0;              // not followed, but with a monitor that vmeventd may use
  std::vector<Finding> findings;
  // Hints, for people, by which vmeventd would see more of VMs that it already follows. They do not
  // make the command fail.
  std::vector<Finding> hints;
};

// Texts may hold any bytes.
Diagnosis Diagnose(const NodeFacts& facts);

// The diagnosis if the daemon does not answer. `why` is a sentence, `probe` is the result for its
// address, `client`: see NodeFacts.
Diagnosis DiagnoseSilence(const ServerAddress& server, const std::string& why,
                          const ProbeResult& probe, const std::string& client);

}  // namespace vmeventd::client
