#include "tests/system/fleet_soak/verdict.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

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
    if (!missing.empty()) {
      verdict.findings.push_back(absl::StrCat(
          journal, ": ", missing.size(), " events are missing, the first is ", *missing.begin()));
    }
  }
  return verdict;
}

Verdict Judge(const Copies& copies, const Sequences& journals, uint64_t window) {
  Verdict best;
  std::vector<std::string> servers;
  bool differ = false;
  for (const auto& [server, copy] : copies) {
    Verdict verdict = Judge(copy, journals, window);
    differ |= copy != copies.begin()->second;
    servers.push_back(absl::StrCat("the copy of the server ", server, " differs from others'; ",
                                   verdict.findings.size(),
                                   " findings in it: ", absl::StrJoin(verdict.findings, "; ")));
    if (server == copies.begin()->first || verdict.findings.size() < best.findings.size()) {
      best = std::move(verdict);
    }
  }
  if (differ) best.servers = std::move(servers);
  return best;
}

}  // namespace vmeventd::e2e
