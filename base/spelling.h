#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

// Suggestions for misspelled names. Pure; any thread.

namespace vmeventd {

// Finds the name of which `typed` is a misspelling: it differs by one or two changed, added or
// missing letters; in a short word, by one. Empty: there is none.
std::string NearestName(absl::string_view typed, const std::vector<std::string>& names);

// A proposal for a word that a program does not know.
struct Proposal {
  absl::string_view name;         // an option, a command or a value; empty: none
  absl::string_view arguments;    // the text to write after the name, with its separator: " NAME"
  absl::string_view explanation;  // another sentence, without its full stop; empty: none

  bool empty() const { return name.empty() && explanation.empty(); }
};

// Words of other programs, separated by blanks, and what a program has instead.
using ForeignWords = std::pair<absl::string_view, Proposal>;

// Returns the first proposal for `word` that `fits`; empty: there is none.
Proposal FindProposal(absl::Span<const ForeignWords> rows, absl::string_view word,
                      absl::FunctionRef<bool(const Proposal&)> fits);

// Returns the end of a sentence: "; did you mean NAME ARGUMENTS? EXPLANATION", or without a name
// "; EXPLANATION". Empty if the proposal is.
std::string DidYouMean(const Proposal& proposal);

}  // namespace vmeventd
