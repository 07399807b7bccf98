#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace vmeventd::simulation {

// Names under which Story counts what simulations are to reach: each row of the classification
// table, each kind of event, each way for a stream to end, each call on the journal's files to
// fail, to be killed and to lose power in. Those of `reached` are left out.
std::vector<std::string> NotReached(const std::map<std::string, uint64_t>& reached);

}  // namespace vmeventd::simulation
