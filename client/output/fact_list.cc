#include "client/output/fact_list.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "client/output/terminal_text.h"

namespace vmeventd::client {

void FactList::Add(absl::string_view name, absl::string_view value, Color color) {
  if (value.empty()) return;
  const std::string text = EscapeForTerminal(value);
  constexpr size_t kLeast = 20;
  const size_t room = std::max(limit_, width_ + 2 + kLeast) - width_ - 2;
  const bool whole = limit_ == 0 || DisplayWidth(text) <= room;
  for (const std::string& line : whole ? std::vector{text} : WrapText(text, room)) {
    const bool same = name == std::exchange(name_, std::string(name));
    text_ += layout_.Line({{same ? "" : EscapeForTerminal(name), Color::kDim}, {line, color}});
  }
}

}  // namespace vmeventd::client
