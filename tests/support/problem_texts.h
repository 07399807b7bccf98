#pragma once

#include <string>
#include <vector>

namespace vmeventd {

// Texts of a VM's problems, the watcher's or the contract's.
template <typename Problems>
std::vector<std::string> ProblemTexts(const Problems& problems) {
  std::vector<std::string> texts;
  for (const auto& problem : problems) {
    if constexpr (requires { problem.text(); }) {
      texts.push_back(problem.text());
    } else {
      texts.push_back(problem.text);
    }
  }
  return texts;
}

}  // namespace vmeventd
