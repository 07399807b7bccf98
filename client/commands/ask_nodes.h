#pragma once

#include <cstddef>
#include <optional>
#include <vector>

#include "client/connect/failure.h"
#include "client/output/print_sentence.h"
#include "client/sources/ask_all.h"
#include "client/sources/daemon_node.h"

namespace vmeventd::client {

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
