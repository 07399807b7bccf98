#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/output/print_sentence.h"
#include "client/sources/list_source.h"

namespace vmeventd::client {

struct NodeLists {
  std::string name;  // shown with its events and VMs
  std::unique_ptr<ListSource> lists;
};
// Merges the lists of several nodes: events by time (those of one node stay in order), VMs by name.
// Asks all nodes at once, each on its own thread. If some nodes fail, the answers of the others are
// used; ReportFailures() reports the failures and chooses the result.
std::unique_ptr<ListSource> MergeLists(std::vector<NodeLists> nodes, PrintSentence note);

}  // namespace vmeventd::client
