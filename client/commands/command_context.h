#pragma once

#include <string>
#include <utility>
#include <vector>

#include "client/connect/failure.h"
#include "client/connect/server_address.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/output/print_sentence.h"
#include "client/sources/daemon_node.h"

namespace vmeventd::client {

// The context of a command that sends each daemon one request: the servers to ask, and the output.
// The objects behind the pointers must outlive it; a pointer may be null if the command does not
// use it.
struct CommandContext {
  explicit CommandContext(ServerAddress server, Formatter* shows = nullptr,
                          Output* prints = nullptr)
      : nodes{DaemonNode(std::move(server))}, formatter(shows), output(prints) {}
  CommandContext(std::vector<DaemonNode> servers, Formatter* shows, Output* prints,
                 PrintSentence print_note)
      : nodes(std::move(servers)), formatter(shows), output(prints), note(std::move(print_note)) {}

  std::vector<DaemonNode> nodes;  // at least one
  Formatter* formatter;
  Output* output;
  PrintSentence note = [](const std::string& /*sentence*/) {};
};

}  // namespace vmeventd::client
