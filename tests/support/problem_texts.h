#pragma once

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "vmeventd/contract/enums.h"
#include "vmeventd/v1/vm_events.pb.h"

namespace vmeventd {

// A problem of the contract's type as "NO_ANSWER: QEMU does not answer".
inline std::string ProblemText(const v1::Problem& problem) {
  return absl::StrCat(ProblemCodeName(static_cast<ProblemCode>(problem.code())), ": ",
                      problem.text());
}

template <typename Problems>
std::vector<std::string> ProblemTexts(const Problems& problems) {
  std::vector<std::string> texts;
  for (const v1::Problem& problem : problems) texts.push_back(ProblemText(problem));
  return texts;
}

}  // namespace vmeventd
