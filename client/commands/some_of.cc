#include "client/commands/some_of.h"

#include <cstddef>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {

std::string SomeOf(const std::set<std::string>& names) {
  constexpr size_t kShown = 10;
  std::vector<std::string> shown;
  for (const std::string& name : names) {
    if (shown.size() < kShown) shown.push_back(EscapeForTerminal(name));
  }
  return absl::StrCat(
      absl::StrJoin(shown, ", "),
      names.size() > kShown ? absl::StrCat(" or ", names.size() - kShown, " more") : "");
}

}  // namespace vmeventd::client
