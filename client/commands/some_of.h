#pragma once

#include <set>
#include <string>

namespace vmeventd::client {

// The names for a sentence, escaped: "web1, web2". Of more than ten it has the first ten and how
// many more there are.
std::string SomeOf(const std::set<std::string>& names);

}  // namespace vmeventd::client
