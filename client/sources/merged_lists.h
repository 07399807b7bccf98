#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/output/output.h"
#include "client/sources/list_source.h"

namespace vmeventd::client {

struct NodeLists {
  std::string name;  // shown with its events and VMs
  std::unique_ptr<ListSource> lists;
};
// The lists of several nodes as one: events by time, where those of one node stay in order, and
// VMs by name. Asks all nodes at once, each on a thread of its own. A failed node is noted, the
// others' answers count; ReportFailures() makes the result then.
std::unique_ptr<ListSource> MergeLists(std::vector<NodeLists> nodes, PrintSentence note);

}  // namespace vmeventd::client
