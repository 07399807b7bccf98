#ifndef VMEVENTD_CLIENT_RUN_SERVERS_H_
#define VMEVENTD_CLIENT_RUN_SERVERS_H_

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/commands/commands.h"
#include "client/connect/server_address.h"
#include "client/fleet/fleet_lists.h"
#include "client/options/options.h"
#include "client/output/output.h"

// Whom a command asks.

namespace vmeventd::client {

// Runs `ask` with a connection to the server; why it, or the connection, failed. `formatter` and
// `output` may be null where `ask` does not use them.
std::optional<Failure> WithServer(
    const ServerAddress& server, Formatter* formatter, Output* output,
    const std::function<std::optional<Failure>(const CommandContext&)>& ask);

// The lists of the server, of the servers, or of the fleet that the command line names. `note`
// prints a sentence, safe for a terminal, to stderr; any thread.
std::unique_ptr<ListSource> ListsOf(const CommandLine& line,
                                    std::function<void(const std::string&)> note);
// What each of several servers is called: the name of its node, or its address where it does not
// say one in time, or one that another has too. Asks all at once.
std::vector<std::string> NodeNames(const std::vector<ServerAddress>& servers);
FleetLists FleetListsOf(const CommandLine& line, std::function<void(const std::string&)> note);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_RUN_SERVERS_H_
