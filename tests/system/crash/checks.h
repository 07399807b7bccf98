#pragma once

#include <string>
#include <vector>

#include "tests/system/crash/history.h"

// What must hold for a history, whatever was killed when. Each check returns its findings, one text
// each; none changes anything or reads anything but its argument.

namespace vmeventd::crash {

using Findings = std::vector<std::string>;

// Every durable event that a client received is in the journal, with the same bytes.
Findings CheckNothingIsLost(const History& history);
// On each stream the sequences increase, and no matching event is missing between its first and its
// last position.
Findings CheckStreamsAreComplete(const History& history);
// A resuming client was never refused, began each stream where the last one ended, and received
// nothing twice.
Findings CheckResumption(const History& history);
// A snapshot lists exactly the runs that were open as of its sequence.
Findings CheckSnapshots(const History& history);
// The journal is numbered without a hole, its events are durable, and ListEvents returns the same
// in both orders.
Findings CheckJournal(const History& history);
// Every run has one STARTED, first, and one STOPPED, last; it is one process of the harness, which
// has no second run, or without a pid one that has no run; every process that was published has its
// run.
Findings CheckRuns(const History& history);
// A STOPPED of a run all of whose deeds were seen by the life that published it has their class.
Findings CheckClasses(const History& history);
// The shutdown files match the STOPPED events, and STOPPED states whether the file was written.
Findings CheckFiles(const History& history);
// ListVms of the last daemon lists all runs as stopped.
Findings CheckListing(const History& history);
// Every probe got the expected answer.
Findings CheckProbes(const History& history);

// All of the above.
Findings CheckAll(const History& history);

// Whether an event passes a filter, according to the contract.
bool Passes(const v1::Event& event, const v1::EventFilter& filter);

}  // namespace vmeventd::crash
