// Any text of the server is printed as one line of UTF-8 without control characters.

#include <cstdlib>
#include <string>

#include "base/text.h"
#include "client/output/terminal_text.h"

void Fuzz_terminal_text(absl::string_view input) {
  namespace client = vmeventd::client;
  const std::string shown = client::EscapeForTerminal(input);
  if (!vmeventd::IsValidUtf8(shown)) std::abort();
  for (const char c : shown) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) std::abort();
  }
  for (const char* control : {"\u0085", "\u009b", "\u2028", "\u2029", "\u202e", "\u200b"}) {
    if (shown.find(control) != std::string::npos) std::abort();
  }
  // Printable ASCII without a backslash is unchanged.
  if (client::DisplayWidth(shown) > shown.size()) std::abort();
  client::ColumnLayout layout({{"NAME", 4}, {"TEXT"}}, client::Painter(false));
  layout.Fit({{shown}, {shown}});
  const std::string line = layout.Line({{shown}, {shown}});
  if (line.empty() || line.find('\n') != line.size() - 1) std::abort();
}
