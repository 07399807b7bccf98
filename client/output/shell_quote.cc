#include "client/output/shell_quote.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "base/utf8.h"
#include "client/output/terminal_text.h"

namespace vmeventd::client {
namespace {

// The word as $'...'.
std::string QuoteWithEscapes(absl::string_view word) {
  std::string out = "$'";
  bool behind_byte = false;  // a shell may take a hexadecimal digit after it for a part of it
  while (!word.empty()) {
    const Utf8Character character = DecodeUtf8(word);
    const absl::string_view one = word.substr(0, std::max<size_t>(character.length, 1));
    word.remove_prefix(one.size());
    const bool was_behind_byte = std::exchange(behind_byte, false);
    if (one == "\n") {
      out += "\\n";
    } else if (one == "\t") {
      out += "\\t";
    } else if (one == "\\" || one == "'") {
      absl::StrAppend(&out, "\\", one);
    } else if (character.length == 0 || IsHiddenCharacter(character.code_point) || one == "!") {
      // An interactive shell may take an exclamation mark for one of its history.
      for (const char byte : one) {
        absl::StrAppendFormat(&out, "\\x%02x", static_cast<unsigned char>(byte));
      }
      behind_byte = true;
    } else {
      const bool is_digit = absl::ascii_isxdigit(static_cast<unsigned char>(one[0]));
      absl::StrAppend(&out, was_behind_byte && is_digit ? "'$'" : "", one);
    }
  }
  return out + "'";
}

}  // namespace

std::string QuoteForShell(absl::string_view word) {
  if (EscapeForTerminal(word) != word) return QuoteWithEscapes(word);
  const bool harmless = !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
    return absl::ascii_isalnum(c) || !absl::ascii_isascii(c) || absl::StrContains("_-./:@%+=,", c);
  });
  if (harmless) return std::string(word);
  return absl::StrCat("'", absl::StrReplaceAll(word, {{"'", "'\\''"}}), "'");
}

}  // namespace vmeventd::client
