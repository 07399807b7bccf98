#pragma once

#include <string>

#include "server/eventlog/hole.h"
#include "vmeventd/contract/enums.h"

namespace vmeventd {

// A GAP of the node as a whole that the log adds.
struct NodeGap {
  GapReason reason{};
  std::string message;
  Hole missing{};  // the sequences that it names; empty: none
};

}  // namespace vmeventd
