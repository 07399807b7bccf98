#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/strings/string_view.h"

// The characters of UTF-8. Pure; any thread.

namespace vmeventd {

struct Utf8Character {
  uint32_t code_point = 0;
  size_t length = 0;  // in bytes; 0: not UTF-8
};

// Decodes the character at the start of `text`, which must not be empty. Overlong forms, surrogates
// and code points above U+10FFFF are not UTF-8 (RFC 3629).
Utf8Character DecodeUtf8(absl::string_view text);

bool IsValidUtf8(absl::string_view text);

// Returns whether a character controls a terminal or the order of text, or is invisible, so that
// different names may look the same (Unicode 15: Cc, Cf, Zl, Zp and the fillers).
bool IsHiddenCharacter(uint32_t code_point);

}  // namespace vmeventd
