#ifndef VMEVENTD_CLIENT_COMMANDS_MERGED_LISTS_H_
#define VMEVENTD_CLIENT_COMMANDS_MERGED_LISTS_H_

#include <functional>
#include <string>
#include <vector>

#include "client/commands/commands.h"
#include "client/connect/exit_code.h"

// The lists of several nodes as one. Each asks all nodes at once. A node that fails is reported,
// and the others' answers are printed; the code is then that of the last failure.

namespace vmeventd::client {

// One node to ask.
struct AskedNode {
  std::string name;  // shown with what is its own
  // Runs the function with a connection to the node; any thread. Returns its failure, or that of
  // the connection.
  std::function<std::optional<Failure>(
      const std::function<std::optional<Failure>(const CommandContext&)>&)>
      ask;
};

struct ListEnvironment {
  Formatter* formatter = nullptr;
  Output* output = nullptr;
  // Prints a sentence, safe for a terminal, to stderr; any thread.
  std::function<void(const std::string&)> note;
};

// By time; the events of one node keep their order.
ExitCode RunMerged(const EventsCommand& command, const std::vector<AskedNode>& nodes,
                   const ListEnvironment& environment);
// By name, then by node.
ExitCode RunMerged(const VmsCommand& command, const std::vector<AskedNode>& nodes,
                   const ListEnvironment& environment);

}  // namespace vmeventd::client

#endif  // VMEVENTD_CLIENT_COMMANDS_MERGED_LISTS_H_
