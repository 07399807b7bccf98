#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

// Text for a terminal: makes foreign text harmless, measures, cuts and wraps it. Pure.

namespace vmeventd::client {

// `text` with everything that could control or deceive a terminal replaced by a visible escape:
// control characters and bytes that are not UTF-8 as \xNN; C1 controls, bidirectional controls and
// other invisible characters as \uNNNN or \UNNNNNNNN. The result is one line of valid UTF-8.
std::string EscapeForTerminal(absl::string_view text);

// The number of columns that `text` takes on a terminal; a character of unknown width takes one.
// `text` must not contain escape sequences.
size_t DisplayWidth(absl::string_view text);

// Cuts `text` to `width` columns. A cut text ends with "…", or has "…" in the `middle`, for names,
// which may differ only at their ends.
std::string CutText(absl::string_view text, size_t width, bool middle = false);

// Breaks `text` at blanks into lines of at most `width` columns; returns at least one line. A wider
// word gets its own line.
std::vector<std::string> WrapText(absl::string_view text, size_t width);

}  // namespace vmeventd::client
