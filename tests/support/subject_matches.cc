#include "tests/support/subject_matches.h"

#include <cstddef>
#include <vector>

#include "absl/strings/str_split.h"

namespace vmeventd::client {

bool SubjectMatches(absl::string_view pattern, absl::string_view subject) {
  const std::vector<absl::string_view> wanted = absl::StrSplit(pattern, '.');
  const std::vector<absl::string_view> tokens = absl::StrSplit(subject, '.');
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (i >= tokens.size()) return false;
    if (wanted[i] == ">") return true;
    if (wanted[i] != "*" && wanted[i] != tokens[i]) return false;
  }
  return wanted.size() == tokens.size();
}

}  // namespace vmeventd::client
