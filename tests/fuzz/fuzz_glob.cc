// A pattern matches according to its rules, and no pattern makes a match slow.

#include <cstdlib>
#include <string>

#include "absl/strings/string_view.h"
#include "base/glob.h"

namespace {

bool Matches(absl::string_view pattern, absl::string_view text) {
  size_t steps = 0;
  const bool matches = vmeventd::Glob(pattern).Matches(text, &steps);
  if (steps > (pattern.size() + 1) * (text.size() + 1)) std::abort();
  return matches;
}

}  // namespace

void Fuzz_glob(absl::string_view input) {
  const size_t cut = input.find('\n');
  if (cut == absl::string_view::npos) return;
  const absl::string_view pattern = input.substr(0, cut);
  const absl::string_view text = input.substr(cut + 1);
  const bool matches = Matches(pattern, text);
  // A pattern without a wildcard is a name, and an additional star at an end matches no less.
  if (!vmeventd::IsGlob(pattern) && matches != (pattern == text)) {
    std::abort();
  }
  if (!Matches("*", text)) std::abort();
  if (matches && !Matches("*" + std::string(pattern), text)) std::abort();
  if (Matches("*" + std::string(pattern), text) && !Matches("**" + std::string(pattern), text)) {
    std::abort();
  }
}
