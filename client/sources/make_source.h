#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/connect/stop_source.h"
#include "client/output/print_sentence.h"
#include "client/sources/fleet_environment.h"
#include "client/sources/list_source.h"
#include "client/sources/servers.h"
#include "client/sources/source.h"
#include "client/sources/watch_command.h"
#include "client/sources/watch_positions.h"

// The sources for the servers or the fleet that a command asks.

namespace vmeventd::client {

// Returns the lists of the server, the servers or the fleet. `named`: the events and VMs of a
// single daemon also have its node's name. `note` is called by any thread. `*names` gets the names
// of the servers, or that of the fleet.
std::unique_ptr<ListSource> ListsOf(const Servers& servers, bool named, PrintSentence note,
                                    std::vector<std::string>* names = nullptr);

FleetEnvironment FleetOf(const Servers& servers, PrintSentence note);

// Makes the source of the events. A server with a position resumes after it; the others start as
// the command says. `stop` must outlive the source; `note` is called by any thread.
std::unique_ptr<Source> MakeSource(const WatchCommand& command, const Servers& servers,
                                   const WatchPositions& positions, StopSource* stop,
                                   const PrintSentence& note);

}  // namespace vmeventd::client
