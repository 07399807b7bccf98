#include "base/spelling.h"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace vmeventd {
namespace {

// Counts the letters to change, add or remove, and the neighbours to swap.
size_t Distance(absl::string_view a, absl::string_view b) {
  std::vector<size_t> before;  // the row before `above`
  std::vector<size_t> above(b.size() + 1);
  std::iota(above.begin(), above.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    std::vector<size_t> row = {i + 1};
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t changed = above[j] + (a[i] == b[j] ? 0 : 1);
      row.push_back(std::min({changed, row[j] + 1, above[j + 1] + 1}));
      const bool swapped = i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j];
      if (swapped) row[j + 1] = std::min(row[j + 1], before[j - 1] + 1);
    }
    before = std::exchange(above, std::move(row));
  }
  return above.back();
}

}  // namespace

std::string NearestName(absl::string_view typed, const std::vector<std::string>& names) {
  constexpr size_t kLongestName = 40;  // a longer word is not a misspelled name
  if (typed.size() > kLongestName) return "";
  std::string nearest;
  size_t least = typed.size() > 4 ? 3 : 2;
  for (const std::string& name : names) {
    const size_t distance = absl::EqualsIgnoreCase(typed, name) ? 0 : Distance(typed, name);
    if (distance >= least) continue;
    least = distance;
    nearest = name;
  }
  return nearest;
}

Proposal FindProposal(absl::Span<const ForeignWords> rows, absl::string_view word,
                      absl::FunctionRef<bool(const Proposal&)> fits) {
  for (const auto& [words, proposal] : rows) {
    for (const absl::string_view other : absl::StrSplit(words, ' ')) {
      if (other == word && fits(proposal)) return proposal;
    }
  }
  return {};
}

std::string DidYouMean(const Proposal& proposal) {
  std::string text;
  if (!proposal.name.empty()) {
    text = absl::StrCat("; did you mean ", proposal.name, proposal.arguments, "?");
  }
  if (proposal.explanation.empty()) return text;
  return absl::StrCat(text, text.empty() ? "; " : " ", proposal.explanation);
}

}  // namespace vmeventd
