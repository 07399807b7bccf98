#pragma once

#include <string>
#include <vector>

#include "tests/system/crash/history.h"

namespace vmeventd::crash {

using Findings = std::vector<std::string>;

// Returns what does not hold for a history, one text each, whatever was killed when:
// - Every durable event that a client received is in the journal, with the same bytes.
// - On each stream the sequences increase, no Progress overtakes an event, and no event is missing
//   between its first and its last position.
// - A resuming client was never refused, began each stream where the last one ended, and received
//   nothing twice.
// - The journal is numbered without a hole, and its events are durable.
// - Every run has one STARTED, first, and one STOPPED, last; it is one process of the harness,
//   which has no second run, or without a pid one that has no run; every process that was published
//   has its run.
// Classes, shutdown files and snapshots are for the simulation to judge, which kills at every call.
Findings Check(const History& history);

}  // namespace vmeventd::crash
