#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace vmeventd::simulation {

// The names that Story should count but that are not in `reached`: each row of the classification
// table, each kind of event, each way in which a stream ends, and each call on the journal's files
// with a failure, a kill and a loss of power in it.
std::vector<std::string> NotReached(const std::map<std::string, uint64_t>& reached);

}  // namespace vmeventd::simulation
