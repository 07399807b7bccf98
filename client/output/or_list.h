#pragma once

#include <string>
#include <vector>

// Lists in sentences. Pure.

namespace vmeventd::client {

// "a", "a or b", "a, b or c".
std::string OrList(const std::vector<std::string>& words);

}  // namespace vmeventd::client
