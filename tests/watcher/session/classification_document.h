#pragma once

#include <string>

namespace vmeventd {

// The text of docs/internals/classification.md, from the tables of the rules and of what clears
// evidence.
std::string ClassificationDocument();

}  // namespace vmeventd
