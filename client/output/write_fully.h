#pragma once

#include "absl/strings/string_view.h"

namespace vmeventd::client {

// Writes the whole text. Returns 0, or the errno of the call that failed.
int WriteFully(int descriptor, absl::string_view text);

}  // namespace vmeventd::client
