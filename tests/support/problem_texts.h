#pragma once

#include <string>
#include <vector>

namespace vmeventd {

// The texts of a VM's problems, in the type of the watcher or of the contract.
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
