#pragma once

#include <string>

#include "absl/strings/string_view.h"

// Texts that vmeventd's configuration file can hold, and their quotation. Pure.

namespace vmeventd::client {

// Returns whether vmeventd reads this text from the file as it was written. It does not if the text
// has a "#", a control character or certain quotation marks.
bool FileHolds(absl::string_view text);

// The text, quoted for the file: a string of TOML.
std::string QuoteForFile(absl::string_view text);

}  // namespace vmeventd::client
