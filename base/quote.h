#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

// Values from outside in messages. Pure; any thread.

namespace vmeventd {

// Quotes a value from outside for a message: in ASCII, on one line, truncated after 120 bytes. A
// status travels in a header, whose size is limited.
std::string Quote(absl::string_view value);

// INVALID_ARGUMENT: the quoted text, and the rule that it breaks.
inline absl::Status InvalidText(absl::string_view text, absl::string_view rule) {
  return absl::InvalidArgumentError(absl::StrCat(Quote(text), " ", rule));
}

}  // namespace vmeventd
