#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace vmeventd::client {

// The word, quoted for a shell: one line that EscapeForTerminal() does not change. A word with
// characters that it would escape is quoted as $'...', with \n, \t, \xNN, \\ and \': bash, zsh and
// ksh know that, and so does POSIX since 2024. A NUL, which no argument can have, ends the word
// there.
std::string QuoteForShell(absl::string_view word);

}  // namespace vmeventd::client
