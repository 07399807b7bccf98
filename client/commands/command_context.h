#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "client/connect/failure.h"
#include "client/connect/server_address.h"
#include "client/output/formatter.h"
#include "client/output/output.h"
#include "client/output/print_sentence.h"
#include "client/sources/ask_all.h"
#include "client/sources/daemon_node.h"

// Parts shared by the commands that send each daemon one request.

namespace vmeventd::client {

// The servers to ask, and the output. The objects behind the pointers must outlive it; a pointer
// may be null if the command does not use it.
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

// The answer of a node, or why there is none.
template <typename Answer>
struct NodeAnswer {
  std::optional<Failure> failure;
  Answer answer;
};

// Asks all nodes at once.
template <typename Answer, typename Question>
std::vector<NodeAnswer<Answer>> AskNodes(const std::vector<DaemonNode>& nodes,
                                         const Question& question) {
  std::vector<NodeAnswer<Answer>> answers(nodes.size());
  AskAll(nodes.size(),
         [&](size_t i) { answers[i].failure = question(nodes[i], &answers[i].answer); });
  return answers;
}

// Returns the failure of the nodes without an answer: see ReportFailures().
template <typename Answers>
std::optional<Failure> FailureOf(const Answers& answers, const PrintSentence& note) {
  std::vector<std::optional<Failure>> failures;
  failures.reserve(answers.size());
  for (const auto& one : answers) failures.push_back(one.failure);
  return ReportFailures(failures, note);
}

}  // namespace vmeventd::client
