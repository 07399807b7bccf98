#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

// Texts: UTF-8, quoting, misspelled names, durations, signals, addresses. Pure; any thread.

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

// Quotes a value from outside for a message: in ASCII, on one line, truncated after 120 bytes. A
// status travels in a header, whose size is limited.
std::string Quote(absl::string_view value);

// INVALID_ARGUMENT: the quoted text, and the rule that it breaks.
inline absl::Status InvalidText(absl::string_view text, absl::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat(Quote(text), " ", rule));
}

// Finds the name of which `typed` is a misspelling: it differs by one or two changed, added or
// missing letters; in a short word, by one. Empty: there is none. Pure.
std::string NearestName(absl::string_view typed, const std::vector<std::string>& names);

// Returns "; did you mean ANSWER?", the end of a sentence; empty if `answer` is empty. An answer
// may contain a semicolon, after which another sentence follows; that one stands alone if nothing
// is before the semicolon.
std::string DidYouMean(absl::string_view answer);

// Parses a duration in the form of flags: 10m, 1h30m, 2d, 0.5s; units w d h m s ms us ns. The
// result is not negative. nullopt: `text` is not a duration.
std::optional<absl::Duration> ParseDuration(absl::string_view text);

// Formats a duration so that ParseDuration reads it back: "30d", "1h30m", "500ms". `duration` is
// finite and not negative.
std::string PrintDuration(absl::Duration duration);

// Returns the signal's name, "SIGKILL"; or "signal 99" if it has none.
std::string SignalName(int signal);

// Returns whether a name, or an IP address in digits, is local to this host.
bool IsLoopback(const std::string& host);

}  // namespace vmeventd
