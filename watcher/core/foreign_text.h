#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

// Text from outside as valid UTF-8. Pure.

namespace vmeventd {

// One line of UTF-8: a control character, a backslash, and a byte that is not UTF-8 become "\xNN".
std::string OneLine(absl::string_view bytes);

// `bytes` as UTF-8: each byte that is part of no valid sequence becomes `mark` and its two
// hexadecimal digits, "\xNN".
std::string EscapeNonUtf8(absl::string_view bytes, absl::string_view mark = "\\x");

// A file's name as UTF-8: like EscapeNonUtf8(), and a backslash that could be taken for the start
// of such a "\xNN" becomes "\x5c". No two names give the same text.
std::string EscapeName(absl::string_view bytes);

// The longest start of `text`, which is UTF-8, of at most `max_bytes` that cuts no character.
absl::string_view Utf8Prefix(absl::string_view text, size_t max_bytes);

}  // namespace vmeventd
