#include "tools/measure/fleet_soak/verdict.h"

#include <algorithm>
#include <cstddef>
#include <map>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"

namespace vmeventd::e2e {

Verdict Judge(const Sequences& stream, const Sequences& journals, uint64_t window) {
  Verdict verdict;
  for (const auto& [journal, sequences] : stream) {
    verdict.messages += sequences.size();
    if (!journals.contains(journal)) {
      verdict.findings.push_back(absl::StrCat("nobody has the journal ", journal));
    }
  }
  for (const auto& [journal, expected] : journals) {
    std::set<uint64_t> missing(expected.begin(), expected.end());
    const std::set<uint64_t> known = missing;
    uint64_t newest = 0;
    const auto found = stream.find(journal);
    const std::vector<uint64_t> none;
    for (const uint64_t sequence : found == stream.end() ? none : found->second) {
      if (!known.contains(sequence)) {
        verdict.findings.push_back(absl::StrCat(journal, ": the journal has no event ", sequence));
      } else if (missing.erase(sequence) == 0) {
        verdict.findings.push_back(absl::StrCat(journal, ": the event ", sequence, " twice"));
      } else if (sequence < newest) {
        ++verdict.late;
        if (newest - sequence > window) {
          verdict.findings.push_back(
              absl::StrCat(journal, ": the event ", sequence, " behind ", newest));
        }
      }
      newest = std::max(newest, sequence);
    }
    for (const uint64_t sequence : missing) {
      verdict.findings.push_back(absl::StrCat(journal, ": the event ", sequence, " is missing"));
    }
  }
  return verdict;
}

Verdict Judge(const Copies& copies, const Sequences& journals, uint64_t window) {
  Verdict verdict{.copies = copies.size()};
  std::map<std::string, size_t> found;  // in so many copies
  bool differ = false;
  for (const auto& [server, copy] : copies) {
    const Verdict of_copy = Judge(copy, journals, window);
    const std::set<std::string> findings(of_copy.findings.begin(), of_copy.findings.end());
    for (const std::string& finding : findings) ++found[finding];
    verdict.messages = of_copy.messages;
    verdict.late = of_copy.late;
    verdict.servers.push_back(absl::StrCat(
        server, " has another copy than other servers, with ", findings.size(), " findings",
        findings.empty() ? "" : ", such as ", findings.empty() ? "" : *findings.begin()));
    differ |= copy != copies.begin()->second;
  }
  if (!differ) verdict.servers.clear();
  for (const auto& [finding, count] : found) {
    if (count == copies.size()) verdict.findings.push_back(finding);
  }
  return verdict;
}

}  // namespace vmeventd::e2e
